//! Both targets answer and record alike: the same requests to the Wasm module and to the native one, in one Envoy.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use portcullis_mesh::wait::PATIENCE;
use portcullis_mesh::{paths, tools};
use portcullis_protocol::wire::AuditRecord;

use crate::closed_loop::forge;
use crate::envoy::{Envoy, Launch};
use crate::filters::{Chain, READY};
use crate::mesh_api::MeshApi;
use crate::world::{Algorithm, World, cluster};

/// Headers of an answer that must be the same on both.
const COMPARED: [&str; 13] = [
    "x-portcullis-reason",
    "www-authenticate",
    "retry-after",
    "content-type",
    "cache-control",
    "grpc-status",
    "x-echo-subject",
    "x-echo-tenant",
    "x-echo-roles",
    "x-echo-source-type",
    "x-echo-cluster",
    "x-echo-authorization",
    "x-echo-forged",
];

/// What a client saw.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
    /// Whether an identity token went upstream; it says the time, so its text may differ.
    identity: bool,
}

/// Whether an answer with a `content-length` is there.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

/// Sends a request as it is, and reads the answer.
fn ask(address: SocketAddr, request: &str) -> Seen {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // Envoy keeps a connection for a second after a refusal, so the answer's own length says when it is over.
    let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
    while !is_whole(&answer) {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            size => answer.extend_from_slice(&piece[..size]),
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().to_owned();
    let all: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let identity = all.get("x-echo-identity").is_some_and(|token| token.split('.').count() == 3);
    let headers = all.into_iter().filter(|(name, _)| COMPARED.contains(&name.as_str())).collect();
    Seen { status, headers, body: body.to_owned(), identity }
}

/// Credentials of every form, good and bad.
fn credentials(world: &World) -> Vec<String> {
    let good = world.tokens(Algorithm::Rs256, 1).unwrap().remove(0);
    let curve = world.tokens(Algorithm::Es256, 1).unwrap().remove(0).authorization;
    let forged = forge(good.clone()).authorization;
    let good = good.authorization;
    let identity = world.identity_token().authorization;
    let key = World::api_key(0).authorization;
    let line = |value: &str| format!("authorization: {value}\r\n");
    vec![
        String::new(),
        line(&good),
        line(&curve),
        line(&forged),
        line(&identity),
        line(&key),
        line(&key.replace("Bearer pck_0", "Bearer pck_f")),
        line("Bearer not-a-token"),
        line("Bearer a.b.c"),
        line("Basic dXNlcjpwdw=="),
        format!("{}{}", line(&good), line(&good)),
        format!("{}x-api-key: pck_x\r\n", line(&good)),
        format!("x-api-key: {}\r\n", key.trim_start_matches("Bearer ")),
        line("Bearer"),
    ]
}

/// Method, path, host and further lines: every way to name a cluster, and what does not fit.
fn targets() -> Vec<(&'static str, String, String, String)> {
    let (own, other) = (cluster(0), cluster(1));
    let host = "api.bench.test".to_owned();
    let named = |name: &str| format!("{name}.clusters.bench.test");
    let header = |name: &str| format!("x-target-cluster: {name}\r\n");
    vec![
        ("GET", format!("/clusters/{own}/v1/items?secret=s"), host.clone(), String::new()),
        ("GET", "/v1/items".to_owned(), named(&own), String::new()),
        ("GET", "/v1/items".to_owned(), host.clone(), header(&own)),
        ("GET", format!("/clusters/{own}/v1"), named(&other), String::new()),
        ("GET", format!("/clusters/{other}/v1"), host.clone(), String::new()),
        ("GET", "/clusters/nobody-has-this/v1".to_owned(), host.clone(), String::new()),
        ("GET", "/v1/items".to_owned(), host.clone(), String::new()),
        ("TRACE", format!("/clusters/{own}/v1"), host.clone(), String::new()),
        ("DELETE", format!("/clusters/{own}/v1"), host.clone(), String::new()),
        ("GET", "/clusters/../v1".to_owned(), host, header(&own)),
    ]
}

/// Further headers that change the form of an answer, or that a client must not get through.
const EXTRAS: [&str; 8] = [
    "",
    "x-portcullis-subject: forged\r\nx-portcullis-roles: admin\r\n",
    "x_portcullis_source_type: human\r\nx-portcullis-identity: forged\r\n",
    "content-type: application/grpc\r\n",
    "mcp-protocol-version: 2025-06-18\r\n",
    "origin: https://evil.test\r\naccess-control-request-method: GET\r\n",
    "x-request-id: 7f1c3b9a-52a4-4c8e-9a55-0f6f3f2f7c11\r\n",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
];

#[test]
fn a_thousand_requests_are_answered_and_recorded_alike_by_both_targets() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new().unwrap();
    let api = MeshApi::start(world.records(10, 10)).unwrap();
    let launch = Launch {
        binary: tools::installed_envoy(&paths::root()).unwrap(),
        dir: dir.path().to_owned(),
        cores: (0..std::thread::available_parallelism().unwrap().get()).collect(),
        workers: 1,
        trace: false,
    };
    let chains = [
        Chain::plugins("gateway", &["gateway"], &paths::wasm_module()).echoing(),
        Chain::module("native-gateway", "gateway").echoing(),
    ];
    let envoy = Envoy::start("differential", &launch, &chains, &api).unwrap();
    let (wasm, native) = (envoy.address("gateway").unwrap(), envoy.address("native-gateway").unwrap());
    api.keep_records();
    let (mut sent, mut allowed) = (Vec::new(), 0);
    for credential in credentials(&world) {
        for (method, path, host, line) in targets() {
            for extra in EXTRAS {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{line}{credential}{extra}\r\n"
                );
                let (one, two) = (ask(wasm, &request), ask(native, &request));
                let same_body = one.body == two.body || one.body.contains("request_id");
                assert!(
                    one.status == two.status
                        && one.headers == two.headers
                        && one.identity == two.identity
                        && same_body,
                    "{request}\nWasm: {one:#?}\nnative: {two:#?}"
                );
                allowed += usize::from(one.identity);
                sent.push(request);
            }
        }
    }
    assert!(sent.len() >= 1_000 && allowed > 100, "{} sent, {allowed} allowed", sent.len());
    recorded_alike(&api, &sent);
}

/// Both gateways recorded these requests, in this order, and each the same of both.
fn recorded_alike(api: &MeshApi, sent: &[String]) {
    let end = Instant::now() + PATIENCE;
    let streams = loop {
        let streams = streams(api.kept_records());
        if streams.len() == 2 && streams.iter().all(|records| records.len() >= sent.len()) {
            break streams;
        }
        let counts: Vec<_> = streams.iter().map(Vec::len).collect();
        assert!(Instant::now() < end, "{counts:?} records of {} requests", sent.len());
        std::thread::sleep(Duration::from_millis(50));
    };
    for ((one, two), request) in streams[0].iter().zip(&streams[1]).zip(sent) {
        assert_eq!(one, two, "{request}");
    }
    assert!(streams.iter().all(|records| records.len() == sent.len()), "more records than requests");
    for decision in ["allow", "refuse"] {
        assert!(streams[0].iter().any(|record| record.decision == decision), "nothing says {decision}");
    }
}

/// The records of each gateway in order, without what must differ. Those of the readiness path are left out:
/// the harness asks for it as often as it has to.
fn streams(records: Vec<AuditRecord>) -> Vec<Vec<AuditRecord>> {
    let mut streams: BTreeMap<Vec<u8>, BTreeMap<u64, AuditRecord>> = BTreeMap::new();
    for record in records.into_iter().filter(|record| record.path != READY) {
        streams.entry(record.stream.clone()).or_default().insert(record.sequence, record);
    }
    streams.into_values().map(|stream| stream.into_values().map(comparable).collect()).collect()
}

/// Without when and where it was, and without names that are chosen at random.
fn comparable(record: AuditRecord) -> AuditRecord {
    AuditRecord {
        stream: Vec::new(),
        sequence: 0,
        time_ms: 0,
        proxy: String::new(),
        request_id: String::new(),
        duration_us: 0,
        client_address: record.client_address.split(':').next().unwrap_or_default().to_owned(),
        ..record
    }
}
