//! Rules and queries as Prometheus itself reads them: by promtool, in promtool's own tests.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use portcullis_mesh::{paths, tools};
use serde_json::{Value, json};

use crate::alert_cases::{CASES, Case};
use crate::alerts::{alerts, groups};
use crate::dashboards::{dashboards, panels};

/// Groups of rules in the order in which they stand on each other.
const ORDER: [&str; 3] = ["portcullis-levels", "portcullis-critical", "portcullis-warning"];

fn promtool() -> Command {
    Command::new(tools::installed_set(&paths::root(), "monitoring").unwrap().join("promtool"))
}

/// What promtool says of these rules: by its own checks, or by tests.
fn judged(arguments: &[&str], rules: &[Value], tests: Option<&Value>) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &Value| fs::write(folder.path().join(name), content.to_string());
    write("rules.yaml", &json!({"groups": rules})).unwrap();
    write("tests.yaml", tests.unwrap_or(&Value::Null)).unwrap();
    let file = if tests.is_some() { "tests.yaml" } else { "rules.yaml" };
    let said = promtool().args(arguments).arg(file).current_dir(folder.path()).output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) }
}

fn alert(name: &str) -> Value {
    alerts().into_iter().find(|alert| alert["alert"] == name).unwrap_or_else(|| panic!("no alert {name}"))
}

#[test]
fn prometheus_takes_every_rule() {
    judged(&["check", "rules", "--lint=all", "--lint-fatal"], &groups(), None).unwrap();
    let mut wrong = groups();
    wrong[0]["rules"][0]["expr"] = "sum(rate(requests[5m])".into();
    judged(&["check", "rules"], &wrong, None).unwrap_err();
}

#[test]
fn every_alert_is_tried_at_its_boundary() {
    let tried: BTreeSet<_> = CASES.iter().map(|case| case.alert).collect();
    let known = alerts();
    let known: BTreeSet<_> = known.iter().map(|alert| alert["alert"].as_str().unwrap()).collect();
    assert_eq!(tried, known);
    for cases in rounds() {
        judged(&["test", "rules"], &groups(), Some(&tests(&cases))).unwrap();
    }
}

/// The boundaries are tried so closely that none can be moved unseen, in value or in time.
#[test]
fn no_alert_can_begin_elsewhere_unseen() {
    type Change = fn(&Case, &mut Value) -> bool;
    let changes: [(&str, Change); 4] = [
        ("looser", |case, rule| case.moved.is_some_and(|(now, looser, _)| edit(rule, now, looser))),
        ("stricter", |case, rule| case.moved.is_some_and(|(now, _, stricter)| edit(rule, now, stricter))),
        ("later", |case, rule| last(rule, Some(minutes(rule) + case.step))),
        ("sooner", |case, rule| last(rule, minutes(rule).checked_sub(case.step))),
    ];
    for cases in rounds() {
        for (name, change) in changes {
            let mut moved = groups();
            let mut changed = Vec::new();
            let rules = moved.iter_mut().flat_map(|group| group["rules"].as_array_mut().unwrap());
            for rule in rules.filter(|rule| rule["alert"].is_string()) {
                let case = cases.iter().find(|case| rule["alert"] == case.alert);
                changed.extend(case.filter(|case| change(case, rule)).map(|case| case.alert));
            }
            if changed.is_empty() {
                continue;
            }
            let said = judged(&["test", "rules"], &moved, Some(&tests(&cases))).unwrap_err();
            for alert in changed {
                assert!(
                    said.contains(&format!("alertname=\\\"{alert}\\\"")),
                    "nobody sees that {alert} begins {name}: {said}"
                );
            }
        }
    }
}

/// All cases, in rounds in which each alert stands once and evaluations are equally far apart.
fn rounds() -> Vec<Vec<&'static Case>> {
    let mut rounds: Vec<Vec<&Case>> = Vec::new();
    for case in CASES {
        let fits = |round: &&mut Vec<&Case>| {
            round.iter().all(|one| one.alert != case.alert && one.step == case.step)
        };
        match rounds.iter_mut().find(fits) {
            Some(round) => round.push(case),
            None => rounds.push(vec![case]),
        }
    }
    rounds
}

fn edit(rule: &mut Value, from: &str, to: &str) -> bool {
    let text = rule["expr"].as_str().unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    rule["expr"] = text.replace(from, to).into();
    true
}

/// Lets an alert wait for so many minutes.
fn last(rule: &mut Value, minutes: Option<u32>) -> bool {
    if let Some(minutes) = minutes {
        rule["for"] = format!("{minutes}m").into();
    }
    minutes.is_some()
}

/// How long an alert waits.
fn minutes(alert: &Value) -> u32 {
    let Some(text) = alert["for"].as_str() else { return 0 };
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u32>().unwrap() * if unit == "h" { 60 } else { 1 }
}

/// Tests in promtool's form: quiet on this side, and beyond it from the very minute on.
fn tests(cases: &[&Case]) -> Value {
    let tests: Vec<_> = cases.iter().flat_map(|case| tests_of(case)).collect();
    json!({"rule_files": ["rules.yaml"], "evaluation_interval": format!("{}m", cases[0].step),
        "group_eval_order": ORDER, "tests": tests})
}

fn tests_of(case: &Case) -> Vec<Value> {
    let begins = case.from + minutes(&alert(case.alert));
    let quiet = case.quiet.iter().map(|value| test(case, value, &[(begins, 0), (begins + case.step, 0)]));
    let mut asked = vec![(begins, 1)];
    asked.extend(begins.checked_sub(case.step).map(|before| (before, 0)));
    quiet.chain([test(case, case.fires, &asked)]).collect()
}

fn test(case: &Case, value: &str, asked: &[(u32, u32)]) -> Value {
    let series = case.series.iter().map(|(name, values)| {
        let values = values.replace("{}", value);
        json!({"series": name, "values": in_turn(&values, case.from / case.step)})
    });
    let firing = format!("count(ALERTS{{alertname={:?},alertstate=\"firing\"}}) or vector(0)", case.alert);
    let asked = asked.iter().map(|(minute, alerts)| {
        json!({"expr": firing, "eval_time": format!("{minute}m"), "exp_samples": [{"labels": "{}", "value": alerts}]})
    });
    json!({"name": format!("{} {value}", case.alert), "interval": format!("{}m", case.step),
        "input_series": series.collect::<Vec<_>>(), "promql_expr_test": asked.collect::<Vec<_>>()})
}

/// `A..B rest` as so many samples of A and B in turn before the rest.
fn in_turn(values: &str, samples: u32) -> String {
    let Some((turns, rest)) = values.split_once(' ') else { return values.to_owned() };
    let Some((one, other)) = turns.split_once("..") else { return values.to_owned() };
    format!("{}{rest}", format!("{one} {other} ").repeat(usize::try_from(samples / 2).unwrap()))
}

/// That it is answered, too, is tried on a mesh: `tests/tests/monitoring.rs`.
#[test]
fn every_query_of_a_panel_is_one_that_prometheus_reads() {
    let mut rules = Vec::new();
    for (file, dashboard) in dashboards() {
        for target in panels(&dashboard).iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            assert!(!query.contains("istio_") && !query.contains('$'), "{file}: {query}");
            rules.push(json!({"record": format!("panel:{}", rules.len()), "expr": query}));
        }
    }
    assert!(rules.len() > 40, "only {}", rules.len());
    judged(&["check", "rules"], &[json!({"name": "panels", "rules": rules})], None).unwrap();
    let recorded = groups();
    let known: BTreeSet<_> = recorded[..]
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .filter_map(|rule| rule["record"].as_str())
        .collect();
    let asked = rules.iter().flat_map(|rule| {
        rule["expr"].as_str().unwrap().split(|c: char| !c.is_alphanumeric() && c != ':' && c != '_')
    });
    for name in asked.filter(|word| word.starts_with("portcullis:")) {
        assert!(known.contains(name), "nobody records {name}");
    }
}
