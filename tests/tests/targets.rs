//! What holds at a gateway with several workers, whichever of the two targets guards it, and is no row of the
//! scenario: all workers decide alike, a stream passes while it is open, every request is recorded, and calls that
//! fail are counted.
#![cfg(feature = "slow")]

use std::collections::BTreeSet;

use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, OPAQUE_PREFIX, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, FOREIGN, HOSTED, Mesh, Options, TENANT, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Workers of the gateway.
const WORKERS: usize = 3;

/// Pieces of the stream, and the bytes of each: more than Envoy keeps of a body, 1 MiB.
const PIECES: usize = 64;
const PIECE: usize = 32 * 1024;

/// A person's token, with a claim besides.
fn token(mesh: &Mesh, extra: (&str, &str)) -> String {
    let extra = json!({"client_id": CLIENT_PEOPLE, extra.0: extra.1});
    mesh.idp().sign(Algorithm::Rs256, &claims("ann@acme.example", TENANT, &extra)).unwrap()
}

/// Sends a request until every worker of the gateway has taken some, and all have answered the same.
async fn answered_alike(mesh: &Mesh, what: &str, request: &Request, status: u16, reason: &str) {
    let before = busy_workers(mesh).await;
    wait::until(what, &mesh.log("ingressgateway"), async || {
        for _ in 0..8 {
            let answer = request.send().await?;
            let seen = (answer.status, answer.header("x-portcullis-reason"));
            assert_eq!(seen, (status, reason), "{what}: {}", answer.text());
        }
        let now = busy_workers(mesh).await;
        let busy = before.iter().zip(&now).filter(|(before, now)| now > before).count();
        Ok(if busy == WORKERS { Seen::Done(()) } else { Seen::NotYet(format!("{busy} workers")) })
    })
    .await
    .unwrap();
}

/// How many connections each worker of the gateway has taken at its port for clients.
async fn busy_workers(mesh: &Mesh) -> Vec<u64> {
    let admin = mesh.plan().ingress_admin();
    let page = Request::get(admin, "/stats?filter=8080.worker_.*downstream_cx_total").send().await.unwrap();
    let value = |line: &str| line.split_once(": ")?.1.parse().ok();
    let values: Vec<u64> = page.text().lines().filter_map(value).collect();
    assert_eq!(values.len(), WORKERS, "{}", page.text());
    values
}

/// Good, bad, revoked and unknown: each the same at all workers. An opaque token and a key that the provider has
/// just begun to use are asked about.
async fn workers_decide_alike(mesh: &mut Mesh) {
    let to = |mesh: &Mesh, cluster| mesh.get("/tables").header(SELECTOR, cluster);
    let good = token(mesh, ("jti", "good"));
    answered_alike(mesh, "a good token", &to(mesh, HOSTED).bearer(&good), 200, "").await;
    answered_alike(mesh, "no credential", &to(mesh, HOSTED), 401, "credential_missing").await;
    answered_alike(mesh, "another's", &to(mesh, FOREIGN).bearer(&good), 404, "cluster_unknown").await;

    let opaque = [OPAQUE_PREFIX, "known"].concat();
    let grant = claims("ann@acme.example", TENANT, &json!({"active": true, "client_id": CLIENT_PEOPLE}));
    mesh.idp().served().grant(&opaque, &grant);
    answered_alike(mesh, "an opaque token", &to(mesh, HOSTED).bearer(&opaque), 200, "").await;
    let late = [OPAQUE_PREFIX, "late"].concat();
    mesh.idp().served().grant(&late, &grant);
    let long = to(mesh, HOSTED).bearer(&late).method("POST".parse().unwrap());
    let long = long.json(&json!({"rows": "x".repeat(PIECES * PIECE)}));
    answered_alike(mesh, "a long body that waits for its token", &long, 200, "").await;
    mesh.idp_mut().rotate("rotated");
    let extra = json!({"client_id": CLIENT_PEOPLE});
    let new = mesh.idp().sign(Algorithm::Es256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    answered_alike(mesh, "a key of a moment ago", &to(mesh, HOSTED).bearer(&new), 200, "").await;

    let revoked = token(mesh, ("jti", "stolen"));
    answered_alike(mesh, "before it is revoked", &to(mesh, HOSTED).bearer(&revoked), 200, "").await;
    let body = json!({"name": "jti:stolen"});
    let method = "POST".parse().unwrap();
    mesh.admin().unwrap().call(method, "/v1/revocations?wait=30", Some(&body)).await.unwrap();
    answered_alike(mesh, "a revoked one", &to(mesh, HOSTED).bearer(&revoked), 401, "credential_revoked")
        .await;
}

/// Waits until so many at the gateway read the snapshot.
async fn read_by(mesh: &Mesh, readers: usize) {
    wait::until("who reads the snapshot", &mesh.log("ingressgateway"), async || {
        let page = mesh.admin()?.call("GET".parse().unwrap(), "/v1/proxies", None).await?;
        let all = page["workers"].as_array().map(Vec::len);
        Ok(if all == Some(readers) { Seen::Done(()) } else { Seen::NotYet(page.to_string()) })
    })
    .await
    .unwrap();
}

/// Sends piece after piece, each only when the one before it has come back: nothing on the way may keep them.
async fn a_stream_passes_while_it_is_open(mesh: &Mesh) -> Value {
    let bearer = token(mesh, ("jti", "stream"));
    let mut stream = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
    let head = format!(
        "POST /stream HTTP/1.1\r\nhost: gateway\r\n{SELECTOR}: {HOSTED}\r\nauthorization: Bearer {bearer}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = format!("{PIECE:x}\r\n{}\r\n", ".".repeat(PIECE));
    let (mut head, mut came, mut part) = (Vec::new(), 0, vec![0; PIECE]);
    for number in 1..=PIECES {
        stream.write_all(piece.as_bytes()).await.unwrap();
        while came < number * PIECE {
            let size = stream.read(&mut part).await.unwrap();
            assert!(size > 0, "ended in piece {number}: {}", String::from_utf8_lossy(&head));
            // What frames the pieces has no dot in it.
            let mut body = &part[..size];
            if !head.ends_with(b"\r\n\r\n") {
                head.extend_from_slice(body);
                let end = head.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
                let rest = head.split_off(end.unwrap_or(head.len()));
                body = &part[size - rest.len()..size];
            }
            came += body.iter().filter(|byte| **byte == b'.').count();
        }
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    recorded(mesh, "/stream").await
}

/// The audit record of the one request with this path.
async fn recorded(mesh: &Mesh, path: &str) -> Value {
    wait::until("an audit record", &mesh.log("control"), async || {
        let records = mesh.admin()?.audit("limit=1000").await?;
        let found = records.into_iter().find(|record| record["path"] == path);
        Ok(found.map_or_else(|| Seen::NotYet("none".to_owned()), Seen::Done))
    })
    .await
    .unwrap()
}

/// Waits until the control service has acknowledged every record: none waits at the gateway, none is missing.
async fn all_are_acknowledged(mesh: &Mesh) {
    let admin = mesh.plan().ingress_admin();
    wait::until("the last acknowledgement", &mesh.log("control"), async || {
        let page = Request::get(admin, "/stats/prometheus").send().await?.text();
        let line = |line: &&str| line.starts_with("portcullis_filter_journal_records");
        let waiting = page.lines().find(line).unwrap_or("no gauge").to_owned();
        let status = mesh.admin()?.call("GET".parse().unwrap(), "/v1/audit/status", None).await?;
        let none = |name: &str| status[name] == 0;
        let all = waiting.ends_with(" 0") && ["missing", "rejected", "lost"].into_iter().all(none);
        Ok(if all { Seen::Done(()) } else { Seen::NotYet(format!("{waiting}, {status}")) })
    })
    .await
    .unwrap();
}

async fn holds(gateway: Target, readers: usize) {
    let gateway_workers = u32::try_from(WORKERS).unwrap();
    let options = Options { gateway, gateway_workers, private_manifests: true, ..Options::default() };
    let mut mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    read_by(&mesh, readers).await;
    workers_decide_alike(&mut mesh).await;
    let record = a_stream_passes_while_it_is_open(&mesh).await;
    let of = |name: &str| (name.to_owned(), record[name].clone());
    let size = json!(PIECES * PIECE);
    for (name, wanted) in [
        ("decision", json!("allow")),
        ("status", json!(200)),
        ("method", json!("POST")),
        ("subject", json!("ann@acme.example")),
        ("source_type", json!("human")),
        ("cluster", json!(HOSTED)),
        ("request_bytes", size.clone()),
        ("response_bytes", size),
    ] {
        assert_eq!(of(name), (name.to_owned(), wanted), "{record}");
    }
    assert!(record["duration_us"].as_u64() > Some(0), "{record}");
    all_are_acknowledged(&mesh).await;
    let records = mesh.admin().unwrap().audit("limit=1000").await.unwrap();
    let streams: BTreeSet<&str> = records.iter().filter_map(|record| record["stream"].as_str()).collect();
    assert!(streams.len() >= WORKERS, "each worker records in a stream of its own: {streams:?}");
    mesh.stop().await;
}

/// Every call that the gateway makes fails once istiod has taken its way to the mesh API away.
async fn failed_calls_are_counted(gateway: Target) {
    // Nothing becomes stale meanwhile.
    let options = Options { gateway, private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let no_mesh_api = json!([{"op": "remove", "path": "/spec/ports/0"}]).to_string();
    let service = json!({"kind": "ServiceEntry", "name": "control-service"});
    let patch = json!({"target": service, "patch": no_mesh_api});
    Overlay::local(mesh.manifests()).edit_list("patches", |patches| patches.push(patch)).unwrap();
    mesh.apply().await.unwrap();
    let opaque = mesh.get("/tables").header(SELECTOR, HOSTED).bearer(&[OPAQUE_PREFIX, "any"].concat());
    let admin = mesh.plan().ingress_admin();
    wait::until("failed calls", &mesh.log("ingressgateway"), async || {
        let answer = opaque.send().await?;
        let reason = answer.header("x-portcullis-reason");
        let page = Request::get(admin, "/stats/prometheus").send().await?.text();
        let calls: Vec<&str> =
            page.lines().filter(|line| line.starts_with("portcullis_filter_calls_total{")).collect();
        let counted = |kind: &str| {
            let failed = |line: &&&str| line.contains(kind) && line.contains("outcome=\"failed\"");
            calls.iter().find(failed).is_some_and(|line| !line.ends_with(" 0"))
        };
        let all = ["snapshot", "introspection"].into_iter().all(counted);
        let refused = (answer.status, reason) == (503, "introspection_unavailable");
        Ok(if refused && all { Seen::Done(()) } else { Seen::NotYet(format!("{reason}: {calls:?}")) })
    })
    .await
    .unwrap();
    mesh.stop().await;
}

#[tokio::test]
async fn workers_of_a_wasm_gateway_agree_and_streams_pass() {
    // Envoy runs a Wasm module on its main thread besides.
    holds(Target::Wasm, WORKERS + 1).await;
}

#[tokio::test]
async fn workers_of_a_native_gateway_agree_by_one_snapshot_and_streams_pass() {
    holds(Target::Native, 1).await;
}

#[tokio::test]
async fn a_failed_call_is_counted() {
    failed_calls_are_counted(Target::Wasm).await;
}

#[tokio::test]
async fn a_failed_call_is_counted_by_a_native_gateway() {
    failed_calls_are_counted(Target::Native).await;
}
