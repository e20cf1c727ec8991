//! A real Prometheus watches the mesh by the manifests' own definitions: alerts fire, and what dashboards ask is there.

#![cfg(feature = "slow")]

mod definitions;
mod prometheus;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::pki::Authority;
use portcullis_mesh::scenario::{SELECTOR, Scenario, print_row};
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, ONPREM, TENANT};
use serde_json::{Value, json};

use definitions::Definitions;
use prometheus::{Prometheus, value};

const DAY: Duration = Duration::from_hours(24);

/// What a mesh without misfortunes has nothing of, what comes from a cluster's kubelets, and names of labels.
const NOT_HERE: [&str; 6] = [
    "envoy_listener_address",
    "envoy_tls_certificate",
    "portcullis_filter_journal_dropped_total",
    "portcullis_audit_records_refused_total",
    "container_",
    "kube_pod_",
];

#[tokio::test]
async fn alerts_fire_and_every_panel_is_answered() {
    let mut mesh = Mesh::start(Scenario::options(), &mut |line| eprintln!("{line}")).await.unwrap();
    let definitions = Definitions::of(&mesh);
    let mut prometheus = Prometheus::start(&mesh, &definitions).await;
    errors(&mut mesh, &mut prometheus).await;
    let report = Scenario::run(&mut mesh, &mut print_row).await.unwrap();
    assert_eq!(report.failed().count(), 0);
    certificate(&mesh, &mut prometheus).await;
    panels(&mesh, &prometheus, &definitions).await;
    stopped(&mut mesh, &mut prometheus).await;
    prometheus.stop().await;
    mesh.stop().await;
}

/// One request in twenty comes to a cluster whose tunnel is down.
async fn errors(mesh: &mut Mesh, prometheus: &mut Prometheus) {
    let extra = json!({"client_id": CLIENT_PEOPLE});
    let token = mesh.idp().sign(Algorithm::Es256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    send(mesh, &token, HOSTED, 95, 200).await;
    prometheus.until("requests", "portcullis:requests:rate5m > 0", |answer| !answer.is_empty()).await;
    assert_eq!(prometheus.firing().await, [""; 0]);

    assert!(mesh.kill("tunnel-agent").await);
    send(mesh, &token, ONPREM, 5, 503).await;
    prometheus.fires("ErrorsAboveOnePercent").await;
    prometheus.fires("ErrorsAbovePerMille").await;
    let share = prometheus.ask("portcullis:errors:ratio5m").await;
    assert!((0.03..0.07).contains(&value(&share[0])), "{share:?}");
    mesh.start_tunnel().await.unwrap();
}

async fn send(mesh: &Mesh, token: &str, cluster: &str, times: u32, status: u16) {
    for _ in 0..times {
        let answer = mesh.get("/tables").header(SELECTOR, cluster).bearer(token).send().await.unwrap();
        assert_eq!(answer.status, status, "{cluster}: {}", answer.text());
    }
}

/// What clients see is replaced by a certificate of twenty days.
async fn certificate(mesh: &Mesh, prometheus: &mut Prometheus) {
    const ALERT: &str = "CertificateExpiresWithin30Days";
    let left =
        "portcullis:certificate:left_seconds{job=\"api-gateway\",listener_address=~\".+_8443\"} / 86400";
    Overlay::local(mesh.manifests()).open_tls().unwrap();
    mesh.apply().await.unwrap();
    prometheus.until("the certificate", left, |left| left.len() == 1 && value(&left[0]) > 31.0).await;
    assert!(!prometheus.firing().await.iter().any(|alert| alert == ALERT));

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let authority = Authority::new("clients").unwrap();
    let leaf = authority.server_until(&["api.alfred-platform.example.com"], now + 20 * DAY).unwrap();
    let folder = mesh.run_dir().join("pki");
    let new = leaf.write(&folder, "renewed").unwrap();
    // Envoy sees what is moved into place.
    std::fs::rename(new.key, folder.join("client-tls.key")).unwrap();
    std::fs::rename(new.certificate, folder.join("client-tls.pem")).unwrap();
    let twenty = |left: &[Value]| left.iter().any(|left| (19.9..20.0).contains(&value(left)));
    prometheus.until("the new certificate", left, twenty).await;
    prometheus.fires(ALERT).await;
}

/// Every query has an answer that is a number, and every metric of a rule is there.
async fn panels(mesh: &Mesh, prometheus: &Prometheus, definitions: &Definitions) {
    let mut asked = definitions.queries();
    assert!(asked.len() > 40, "only {}", asked.len());
    let metrics = definitions.metrics().into_iter();
    let here = metrics.filter(|name| !NOT_HERE.iter().any(|absent| name.starts_with(absent)));
    asked.extend(here.map(|name| (format!("a rule asks for {name}"), name)));
    wait::until("what panels and rules ask for", &mesh.log("prometheus"), async || {
        let mut unanswered = Vec::new();
        for (place, query) in &asked {
            let answer = prometheus.ask(query).await;
            if answer.iter().all(|sample| value(sample).is_nan()) {
                unanswered.push(format!("{place}: {query}"));
            }
        }
        Ok(if unanswered.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("{unanswered:#?}")) })
    })
    .await
    .unwrap();
}

async fn stopped(mesh: &mut Mesh, prometheus: &mut Prometheus) {
    const ALERT: &str = "ControlServiceUnavailable";
    assert!(!prometheus.firing().await.iter().any(|alert| alert == ALERT));
    mesh.stop_control().await;
    prometheus.fires(ALERT).await;
    mesh.start_control().await.unwrap();
    prometheus.ends(ALERT).await;
}
