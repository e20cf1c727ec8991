//! What the service tells Prometheus, against what the documents say of it.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_control_services::metrics::{ALL, Described, Kind};
use reqwest::Method;

use common::{GATEWAY, Server};

const REFERENCE: &str = include_str!("../../../docs/reference.md");

fn row(metric: &Described) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    format!("| `{}` | {} | {} | {} |", metric.name, metric.kind.as_str(), labels.join(", "), metric.help)
}

#[test]
fn the_reference_has_every_metric_of_the_service_and_no_other() {
    let begin =
        REFERENCE.find("## Metrics of the control service").expect("docs/reference.md has the section");
    let section = &REFERENCE[begin + 3..];
    let section = &section[..section.find("\n## ").unwrap()];
    let found: Vec<&str> = section.lines().filter(|line| line.starts_with("| `portcullis_")).collect();
    let wanted: Vec<String> = ALL.iter().map(row).collect();
    assert_eq!(found, wanted, "docs/reference.md; write the rows as they stand here:\n{}", wanted.join("\n"));
}

#[test]
fn names_are_those_that_prometheus_recommends() {
    let mut names = BTreeSet::new();
    for Described { name, kind, labels, help } in ALL {
        assert!(names.insert(name), "{name} stands twice");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
        for unit in ["millis", "micros", "_ms", "_minutes", "_hours", "_kb"] {
            assert!(!name.contains(unit), "{name} has a unit that is no base unit");
        }
        let word =
            |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(word(name) && labels.iter().all(|label| word(label)), "{name}");
        assert!(help.ends_with('.') && !help.contains(['|', '\\', '\n']), "{name}: {help}");
    }
}

/// The names of the series' labels, by the name of the metric.
fn series(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| {
            let base = name.strip_suffix(part)?;
            ALL.iter().any(|m| m.name == base && m.kind == Kind::Histogram).then_some(base)
        });
        let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
        let names = labels.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0.to_owned()));
        found
            .entry(histogram.unwrap_or(name).to_owned())
            .or_default()
            .extend(names.filter(|name| name != "le"));
    }
    found
}

async fn metrics(server: &Server) -> String {
    server.http.get(server.url("operations", "/metrics")).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_running_service_shows_every_metric_of_the_list_and_no_other() {
    let server = Server::start().await;
    server.reader("gateway", GATEWAY, "01").sync(&server).await;
    server.expect(404, Method::GET, "/v1/clusters/none", None).await;
    let text = metrics(&server).await;
    let heads: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("# ")).collect();
    let wanted = ALL.iter().flat_map(|Described { name, kind, help, .. }| {
        [format!("# HELP {name} {help}"), format!("# TYPE {name} {}", kind.as_str())]
    });
    let wanted: BTreeSet<String> = wanted.collect();
    assert_eq!(heads.iter().map(|head| (*head).to_owned()).collect::<BTreeSet<_>>(), wanted);
    for (name, labels) in series(&text) {
        let metric =
            ALL.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name}: {text}"));
        let wanted: BTreeSet<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(labels, wanted, "{name}");
    }
}

#[tokio::test]
async fn calls_polls_and_commits_are_timed() {
    let server = Server::start().await;
    server.reader("gateway", GATEWAY, "01").sync(&server).await;
    server.expect(404, Method::GET, "/v1/clusters/none", None).await;
    let body = serde_json::json!({"id": "acme-1", "tenant": "acme", "placement": "on_premises"});
    server.expect(201, Method::POST, "/v1/clusters", Some(body)).await;
    server.http.get(server.url("platform", "/v1/clusters")).send().await.unwrap();
    let text = metrics(&server).await;
    let of = |series: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("{series}: {text}")).trim().parse().unwrap()
    };
    let calls = "portcullis_call_duration_seconds_count";
    for (call, status) in [("GetCluster", "4xx"), ("RegisterCluster", "2xx"), ("ListClusters", "4xx")] {
        assert!(of(&format!("{calls}{{call=\"{call}\",status=\"{status}\"}}")) >= 1.0, "{call}");
    }
    assert!(of(&format!("{calls}{{call=\"PollSnapshot\",status=\"2xx\"}}")) >= 1.0);
    let commits = "portcullis_store_commit_duration_seconds";
    assert!(of(&format!("{commits}_count")) >= 1.0 && of(&format!("{commits}_sum")) > 0.0);
    assert_eq!(of(&format!("{commits}_bucket{{le=\"+Inf\"}}")), of(&format!("{commits}_count")));
}
