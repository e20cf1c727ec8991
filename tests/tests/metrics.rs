//! What the filter counts, as the gateway's Envoy shows it to Prometheus, with its labels.

use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::scenario::{SELECTOR, Scenario};
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, FOREIGN, HOSTED, Mesh, Options, TENANT, Target};
use serde_json::json;

/// Series that must be there, and their values.
const EXPECTED: [(&str, &str); 9] = [
    (r#"portcullis_filter_decisions_total{decision="allow",source_type="human"}"#, "20"),
    (r#"portcullis_filter_decisions_total{decision="refuse",source_type="human"}"#, "1"),
    (r#"portcullis_filter_refusals_total{reason="credential_missing",stage="authn"}"#, "3"),
    (r#"portcullis_filter_refusals_total{reason="cluster_unknown",stage="cluster-status"}"#, "1"),
    (r#"portcullis_filter_responses_total{class="2xx",source_type="human"}"#, "20"),
    (r#"portcullis_filter_responses_total{class="4xx",source_type="unknown"}"#, "3"),
    (r#"portcullis_filter_request_duration_ms_count{source_type="human"}"#, "21"),
    (r#"portcullis_filter_request_duration_ms_bucket{source_type="human",le="+Inf"}"#, "21"),
    ("portcullis_filter_snapshot_age_seconds{}", "0"),
];

/// Names that must be there with any value but zero.
const PRESENT: [&str; 5] = [
    r#"portcullis_filter_calls_total{kind="snapshot",outcome="ok"}"#,
    r#"portcullis_filter_calls_total{kind="audit",outcome="ok"}"#,
    r#"portcullis_filter_call_duration_ms_count{kind="audit"}"#,
    "portcullis_filter_snapshot_revision{}",
    "portcullis_filter_identity_cache_hits_total{}",
];

/// The page's lines of the filter, their labels in the order of their names.
fn series(page: &str) -> Vec<(String, String)> {
    let lines = page.lines().filter(|line| line.starts_with("portcullis_filter_"));
    let line = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.trim_end_matches('}').split_once('{')?;
        let mut labels: Vec<&str> = labels.split(',').collect();
        // `le` comes last, as Prometheus shows it.
        labels.sort_by_key(|label| (label.starts_with("le="), *label));
        Some((format!("{name}{{{}}}", labels.join(",")), value.to_owned()))
    };
    lines.filter_map(line).collect()
}

fn missing(page: &str) -> Option<String> {
    let series = series(page);
    let value = |name: &str| series.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let wrong = EXPECTED.iter().find(|(name, expected)| value(name) != Some(expected));
    let absent = PRESENT.iter().find(|name| value(name).is_none_or(|value| value == "0"));
    let name = wrong.map(|(name, _)| *name).or(absent.copied())?;
    Some(format!("{name} is {:?} among {series:#?}", value(name)))
}

#[tokio::test]
async fn prometheus_sees_decisions_refusals_and_durations_with_labels() {
    all_are_seen(Target::Wasm).await;
}

#[cfg(feature = "slow")]
#[tokio::test]
async fn prometheus_sees_what_a_native_gateway_counts() {
    all_are_seen(Target::Native).await;
}

async fn all_are_seen(gateway: Target) {
    let options = Options { gateway, ..Scenario::options() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let extra = json!({"client_id": CLIENT_PEOPLE});
    let token = mesh.idp().sign(Algorithm::Rs256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    let to = |cluster: &str| mesh.get("/tables").header(SELECTOR, cluster);
    for _ in 0..20 {
        assert_eq!(to(HOSTED).bearer(&token).send().await.unwrap().status, 200);
    }
    for _ in 0..3 {
        assert_eq!(to(HOSTED).send().await.unwrap().status, 401);
    }
    assert_eq!(to(FOREIGN).bearer(&token).send().await.unwrap().status, 404);
    let admin = mesh.plan().ingress_admin();
    let page = wait::until("the filter's metrics", &mesh.log("ingressgateway"), async || {
        let page = Request::get(admin, "/stats/prometheus").send().await?.text();
        Ok(missing(&page).map_or_else(|| Seen::Done(page), Seen::NotYet))
    })
    .await
    .unwrap();
    for line in page.lines().filter(|line| line.contains("portcullis_filter")) {
        assert!(!line.contains("=.="), "a label that Istio is not told of: {line}");
    }
    mesh.stop().await;
}
