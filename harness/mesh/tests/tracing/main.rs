//! Spans of one request, from the gateway to the sidecar of the Data API, at a collector that speaks OTLP.

mod collector;

use std::collections::BTreeMap;
use std::path::Path;

use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, Options, Result, TENANT};
use serde_json::{Value, json};

use collector::{Span, Spans};

const COLLECTOR: &str = "otel-collector.observability.svc.cluster.local";
/// The attribute by which Envoy tells the request's id.
const REQUEST_ID: &str = "guid:x-request-id";

#[tokio::test]
async fn the_spans_of_a_request_have_the_trace_of_its_audit_record() {
    let options = Options { private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let spans = Spans::default();
    let collector = spans.serve(mesh.plan().spare(91, 4317)).await;
    traced(mesh.manifests());
    mesh.apply().await.unwrap();
    let extra = json!({"client_id": CLIENT_PEOPLE});
    let token = mesh.idp().sign(Algorithm::Es256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    let request = || mesh.get("/tables?secret=4711").header(SELECTOR, HOSTED).bearer(&token);

    // Who comes without a trace is found by the request's id.
    let found = until_spans(&mesh, &spans, async || Ok(request().send().await?.status), |_| true).await;
    let entry = found.iter().find(|span| span.parent.is_empty()).expect("the gateway's span");
    assert_eq!(record(&mesh, entry.attribute(REQUEST_ID)).await["decision"], "allow");

    // Who comes with one goes on with it.
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let traced = request().header("traceparent", format!("00-{trace}-{parent}-01"));
    assert_eq!(traced.send().await.unwrap().status, 200);
    let found = until_spans(&mesh, &spans, async || Ok(200), |span| span.trace == trace).await;
    let entry = found.iter().find(|span| span.parent == parent).expect("the gateway's span");
    assert_eq!(record(&mesh, entry.attribute(REQUEST_ID)).await["trace_id"], trace);
    for span in found.iter().filter(|span| span.parent != parent) {
        assert!(found.iter().any(|one| one.id == span.parent), "it hangs nowhere: {span:#?} in {found:#?}");
    }

    for span in spans.all() {
        let told = span.text();
        assert!(!told.contains("4711") && !told.contains(&token), "a secret in {told}");
    }
    collector.abort();
    mesh.stop().await;
}

/// Takes in `components/tracing` with all requests, and shows proxies the way to the collector.
fn traced(manifests: &Path) {
    let overlay = Overlay::local(manifests);
    let entry = json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "otel-collector", "namespace": "observability"},
        "spec": {"hosts": [COLLECTOR], "location": "MESH_EXTERNAL", "resolution": "STATIC",
            "ports": [{"number": 4317, "name": "grpc-otlp", "protocol": "GRPC"}],
            "endpoints": [{"address": "127.77.9.91"}]}});
    overlay.write("collector.yaml", &entry).unwrap();
    overlay.edit_list("resources", |list| list.push("collector.yaml".into())).unwrap();
    overlay.edit_list("components", |list| list.push("../../components/tracing".into())).unwrap();
    let patch =
        |target: Value, operation: Value| json!({"target": target, "patch": json!([operation]).to_string()});
    let all = json!({"op": "replace", "path": "/spec/tracing/0/randomSamplingPercentage", "value": 100});
    let way = json!({"op": "add", "path": "/spec/egress/-", "value": {"hosts": [format!("observability/{COLLECTOR}")]}});
    overlay
        .edit_list("patches", |list| {
            list.push(patch(json!({"kind": "Telemetry", "name": "mesh"}), all));
            list.push(patch(json!({"kind": "Sidecar", "namespace": HOSTED, "name": "data-api"}), way));
        })
        .unwrap();
}

/// Asks until there is a trace with spans of the gateway and of the sidecar.
async fn until_spans(
    mesh: &Mesh,
    spans: &Spans,
    ask: impl AsyncFn() -> Result<u16>,
    fits: impl Fn(&Span) -> bool,
) -> Vec<Span> {
    wait::until("spans of gateway and sidecar", &mesh.log("ingressgateway"), async || {
        assert_eq!(ask().await?, 200);
        let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for span in spans.all().into_iter().filter(&fits) {
            traces.entry(span.trace.clone()).or_default().push(span);
        }
        let seen = format!("{} traces", traces.len());
        let whole = traces.into_values().find(|trace| {
            let of =
                |node: &str| trace.iter().filter(|span| span.attribute("node_id").contains(node)).count();
            // The gateway tells of its request and of that which it made of it. Envoy sends spans in batches.
            trace.len() >= 3 && of("ingressgateway") > 0 && of(HOSTED) > 0
        });
        Ok(whole.map_or(Seen::NotYet(seen), Seen::Done))
    })
    .await
    .unwrap()
}

async fn record(mesh: &Mesh, request: &str) -> Value {
    assert!(!request.is_empty());
    let admin = mesh.admin().unwrap().clone();
    wait::until("the audit record", &mesh.log("control"), async || {
        let found = admin.audit(&format!("request_id={request}")).await?;
        Ok(found.first().cloned().map_or_else(|| Seen::NotYet("none".to_owned()), Seen::Done))
    })
    .await
    .unwrap()
}
