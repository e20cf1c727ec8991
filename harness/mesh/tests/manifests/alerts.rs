//! Alerts: each says how bad it is, and what to do.

use std::collections::BTreeSet;
use std::fs;

use portcullis_mesh::paths;
use serde_json::Value;

use crate::rendered::built;

/// The groups that a Prometheus operator would hand to its Prometheus.
pub(crate) fn groups() -> Vec<Value> {
    let rules = built("overlays/prod").resources().iter().filter(|one| one["kind"] == "PrometheusRule");
    rules.flat_map(|one| one["spec"]["groups"].as_array().unwrap().clone()).collect()
}

pub(crate) fn alerts() -> Vec<Value> {
    let rules = groups().into_iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
    rules.filter(|rule| rule["alert"].is_string()).collect()
}

#[test]
fn every_alert_says_how_bad_it_is_and_where_it_stands_what_to_do() {
    let page = fs::read_to_string(paths::root().join("docs/alerts.md")).unwrap();
    let alerts = alerts();
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        for text in ["summary", "description"] {
            assert!(
                alert["annotations"][text].as_str().is_some_and(|text| text.len() > 10),
                "{name}: {text}"
            );
        }
        let link = alert["annotations"]["runbook_url"].as_str().unwrap();
        let (url, anchor) = link.split_once('#').unwrap();
        assert!(url.starts_with("https://") && url.ends_with("/docs/alerts.md"), "{name}: {link}");
        assert_eq!(anchor, name.to_lowercase(), "{name}: {link}");
        let section =
            page.split(&format!("\n### {name}\n")).nth(1).unwrap_or_else(|| panic!("{name}: no heading"));
        let section = section.split("\n##").next().unwrap();
        for part in ["**Means.**", "**Look at.**", "**Do.**"] {
            assert!(section.contains(part), "{name}: docs/alerts.md does not say {part}");
        }
    }
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let known: BTreeSet<_> = alerts.iter().filter_map(|alert| alert["alert"].as_str()).collect();
    assert_eq!(headings.collect::<BTreeSet<_>>(), known, "headings of docs/alerts.md, and alerts");
}

/// Upstream Envoy, which tunnel gateways are and the local mesh runs, has none of Istio's own metrics.
#[test]
fn no_rule_asks_for_what_upstream_envoy_does_not_show() {
    for rule in groups().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert!(!rule["expr"].as_str().unwrap().contains("istio_"), "{rule}");
    }
}
