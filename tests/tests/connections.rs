//! What the gateway's Envoy bears before any filter of ours runs, and what its own log says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, Options, TENANT};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a request's head may take, by `gateway-connections.yaml`.
const HEAD: Duration = Duration::from_secs(10);

/// Streams of one HTTP/2 connection at a time.
const STREAMS: u32 = 100;

/// How long a connection may be idle in the test about that.
const IDLE: Duration = Duration::from_secs(4);

/// Connections at a port in the test about them.
const FEW: usize = 20;

fn token(mesh: &Mesh) -> String {
    let extra = json!({"client_id": CLIENT_PEOPLE});
    mesh.idp().sign(Algorithm::Rs256, &claims("ann@acme.example", TENANT, &extra)).unwrap()
}

/// Everything that comes until the other side ends the connection, or for so long.
async fn until_its_end(mut connection: TcpStream, within: Duration) -> Option<String> {
    let mut seen = Vec::new();
    // A reset is an end, too.
    let read = tokio::time::timeout(within, connection.read_to_end(&mut seen)).await;
    read.ok().map(|_| String::from_utf8_lossy(&seen).into_owned())
}

async fn a_slow_head_is_cut(gateway: SocketAddr) {
    let mut slow = TcpStream::connect(gateway).await.unwrap();
    slow.write_all(b"GET /tables HTTP/1.1\r\nhost: gateway\r\nx-a: ").await.unwrap();
    let begun = Instant::now();
    let seen = until_its_end(slow, HEAD * 2).await.expect("it is cut");
    println!("a head that does not end: cut after {:?}", begun.elapsed());
    assert!(begun.elapsed() > HEAD / 2, "{:?}", begun.elapsed());
    assert!(seen.starts_with("HTTP/1.1 408 "), "{seen}");
}

/// Sums the gateway's counters of this name, whatever listener or codec they are of.
async fn counted(mesh: &Mesh, name: &str) -> u64 {
    let page = Request::get(mesh.plan().ingress_admin(), "/stats?usedonly").send().await.unwrap().text();
    let values = page.lines().filter_map(|line| line.split_once(": ")).filter(|(key, _)| key.ends_with(name));
    values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

/// What Envoy refuses before it is a request leaves no record, but counts.
async fn headers_are_bounded(mesh: &Mesh) {
    let before = counted(mesh, "downstream_cx_protocol_error").await;
    let many = |count: usize| (0..count).map(|n| format!("x-h{n}: 1\r\n")).collect::<String>();
    let selector = format!("{SELECTOR}: {HOSTED}\r\n");
    // Host, authorization, selector and connection are headers, too. What the gateway adds makes a hundred too many for
    // the sample Data API, so it is asked with fewer.
    for (more, status) in [(60, "200"), (97, "431")] {
        let answer = raw(mesh, "/tables", &[selector.clone(), many(more)].concat()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{more}: {answer}");
        assert_eq!(answer.contains("x-envoy-upstream-service-time"), status == "200", "{more}: {answer}");
    }
    assert_eq!(counted(mesh, "downstream_cx_protocol_error").await, before + 1);
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that no table knows (RFC 7541 §6.2.2); its texts are shorter than a kilobyte or so.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| match text.len() {
        short @ 0..127 => [&[u8::try_from(short).unwrap()], text.as_bytes()].concat(),
        long => {
            let (low, high) = ((long - 127) % 128, (long - 127) / 128);
            [&[127, u8::try_from(low + 128).unwrap(), u8::try_from(high).unwrap()], text.as_bytes()].concat()
        }
    };
    [vec![0], text(name), text(value)].concat()
}

/// A hundred streams of one connection go on, and one more is refused by its own reset.
async fn streams_of_a_connection_are_bounded(mesh: &Mesh) {
    let bearer = format!("Bearer {}", token(mesh));
    let fields: Vec<u8> = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/stream"),
        (":authority", "gateway"),
        (SELECTOR, HOSTED),
        ("authorization", &bearer),
    ]
    .into_iter()
    .flat_map(|(name, value)| field(name, value))
    .collect();
    let mut connection = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    connection.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    for number in 0..=STREAMS {
        connection.write_all(&frame(1, 4, 2 * number + 1, &fields)).await.unwrap();
    }
    let (mut answered, mut refused) = (0, Vec::new());
    while answered + refused.len() <= usize::try_from(STREAMS).unwrap() {
        let mut head = [0; 9];
        let read = tokio::time::timeout(wait::PATIENCE, connection.read_exact(&mut head)).await;
        read.expect("frames").unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        connection.read_exact(&mut payload).await.unwrap();
        match head[3] {
            1 => answered += 1,
            3 => refused.push((stream, payload)),
            7 => panic!("the connection ends: {payload:?}"),
            _ => {}
        }
    }
    println!("streams of a connection: {answered} answered, {refused:?} reset");
    // REFUSED_STREAM (RFC 9113 §7).
    assert_eq!(refused, [(2 * STREAMS + 1, vec![0, 0, 0, 7])]);
    assert_eq!(counted(mesh, "http2.stream_refused_errors").await, 1);
}

/// Lowers a bound in this mesh's own copy of the manifests, and waits until both ports have it.
async fn lower(mesh: &Mesh, (usual, lower): (&str, &str), dumped: &str) {
    let file = mesh.manifests().join("base/gateway-connections.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(usual));
    std::fs::write(&file, text.replace(usual, lower)).unwrap();
    mesh.apply().await.unwrap();
    let page = Request::get(mesh.plan().ingress_admin(), "/config_dump?resource=dynamic_listeners");
    wait::until("the lower bound", &mesh.log("ingressgateway"), async || {
        let text = page.send().await?.text();
        let there = text.matches(dumped).count() >= 2;
        Ok(if there { Seen::Done(()) } else { Seen::NotYet("the old one".to_owned()) })
    })
    .await
    .unwrap();
}

/// A connection without a request under way ends; one with a stream that is open goes on.
async fn idle_connections_end(mesh: &Mesh) {
    let seconds = IDLE.as_secs();
    let bound = format!("idle_timeout: {seconds}s");
    lower(mesh, ("idle_timeout: 300s", &bound), &format!("\"idle_timeout\": \"{seconds}s\"")).await;
    let before = counted(mesh, "downstream_cx_idle_timeout").await;
    let mut busy = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
    let head = format!(
        "POST /stream HTTP/1.1\r\nhost: gateway\r\n{SELECTOR}: {HOSTED}\r\nauthorization: Bearer {}\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\nping\r\n",
        token(mesh)
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
    idle.write_all(b"GET /-/portcullis/ready HTTP/1.1\r\nhost: gateway\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    let answer = until_its_end(idle, IDLE * 4).await.expect("it is closed");
    println!("an idle connection: closed after {:?}", begun.elapsed());
    assert!(answer.starts_with("HTTP/1.1 200 ") && begun.elapsed() > IDLE / 2, "{answer}");
    assert!(counted(mesh, "downstream_cx_idle_timeout").await > before);
    assert_eq!(until_its_end(busy, IDLE).await, None, "a stream is open on it");
}

/// Those that are there go on, and one more is closed without an answer.
async fn connections_are_bounded(mesh: &Mesh) {
    let bound = format!("max_connections: {FEW}");
    lower(mesh, ("max_connections: 10000", &bound), &format!("\"max_connections\": \"{FEW}\"")).await;
    let gateway = mesh.plan().ingress();
    let mut held = Vec::new();
    let closed = wait::until("a connection too many", &mesh.log("ingressgateway"), async || {
        let next = TcpStream::connect(gateway).await.map_err(|e| portcullis_mesh::MeshError::Control {
            what: "a connection".to_owned(),
            status: 0,
            body: e.to_string(),
        })?;
        let mut byte = [0];
        match tokio::time::timeout(Duration::from_millis(200), next.peek(&mut byte)).await {
            Ok(_) => Ok(Seen::Done(held.len())),
            Err(_) => {
                held.push(next);
                Ok(Seen::NotYet(format!("{} are open", held.len())))
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(closed, FEW);
    assert_eq!(counted(mesh, "gateway_connections.limited_connections").await, 1);
    let mut first = held.remove(0);
    let ready = b"GET /-/portcullis/ready HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n";
    first.write_all(ready).await.unwrap();
    let answer = until_its_end(first, wait::EXCHANGE).await.expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Methods that make a server send back what it got: the filter refuses those that Envoy knows, Envoy the others.
async fn trace_is_refused(mesh: &Mesh) {
    let bearer = token(mesh);
    for (method, target, status) in [
        ("TRACE", "/tables", "501"),
        ("CONNECT", "gateway:8080", "501"),
        ("TRACK", "/tables", "400"),
        ("DEBUG", "/tables", "400"),
        ("MADEUP", "/tables", "400"),
    ] {
        let mut connection = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: gateway\r\n{SELECTOR}: {HOSTED}\r\nauthorization: Bearer {bearer}\r\n\
             x-canary: sent-back\r\nconnection: close\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let answer = until_its_end(connection, wait::EXCHANGE).await.expect(method);
        println!("{method}: {}", answer.lines().next().unwrap_or_default());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method}: {answer}");
        assert_eq!(
            answer.contains("x-portcullis-reason: method_refused"),
            status == "501",
            "{method}: {answer}"
        );
        assert!(!answer.contains("sent-back") && !answer.contains(&bearer), "{method}: {answer}");
    }
}

/// A request's head as it is, and the whole answer.
async fn raw(mesh: &Mesh, target: &str, more: &str) -> String {
    let mut connection = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
    let bearer = token(mesh);
    let head = format!(
        "GET {target} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {bearer}\r\n{more}connection: close\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    until_its_end(connection, wait::EXCHANGE).await.expect(target)
}

/// What the reference says of paths: the filter, its record and the Data API see one spelling.
async fn paths_have_one_spelling(mesh: &Mesh) {
    let selector = format!("{SELECTOR}: {HOSTED}\r\n");
    for (sent, seen) in [
        ("/tables/%61", "/tables/a"),
        ("/a/..%2Ftables", "/tables"),
        ("/a/%2e%2e/tables", "/tables"),
        ("/../tables", "/tables"),
        ("/tables//x", "/tables/x"),
        ("/tables/./x", "/tables/x"),
        ("/tables\\x", "/tables/x"),
        ("/tables%5Cx", "/tables/x"),
        ("/Tables?a=%2F..//", "/Tables?a=%2F..//"),
        ("/tables/%252F", "/tables/%252F"),
    ] {
        let answer = raw(mesh, sent, &selector).await;
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(body.contains(&format!("\"path\":\"{seen}\"")), "{sent}: {answer}");
    }
    for sent in ["/tables#x"] {
        let answer = raw(mesh, sent, &selector).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{sent}: {answer}");
    }
    let answer = raw(mesh, "/clusters/acme-onprem/..%2Facme-hosted/tables", "").await;
    assert!(answer.contains(&format!("\"cluster\":\"{HOSTED}\"")), "{answer}");
}

/// No path and no query is in the log of any Envoy; the request's id is, by which the audit log is asked.
async fn the_access_log_has_no_secret(mesh: &Mesh) {
    let secret = ["pck_", &"ab".repeat(8), "_", &"cd".repeat(32), "_", &"ef".repeat(4)].concat();
    let canary = "canary-in-a-path";
    let path = format!("/tables/{secret}/{canary}?access_token={secret}&q={canary}");
    let answer = mesh.get(&path).header(SELECTOR, HOSTED).bearer(&token(mesh)).send().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = portcullis_mesh::data_api::headers_seen(&answer);
    let id = seen.into_iter().find(|(name, _)| name == "x-request-id").unwrap().1;
    for component in ["ingressgateway", "acme-hosted"] {
        let log = mesh.log(component);
        wait::until("the access log", &log, async || {
            let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
            assert!(!text.contains(&secret) && !text.contains(canary), "{component}");
            Ok(if text.contains(&id) { Seen::Done(()) } else { Seen::NotYet("not there yet".to_owned()) })
        })
        .await
        .unwrap();
    }
    let records = mesh.admin().unwrap().audit(&format!("request_id={id}")).await.unwrap();
    assert!(
        records.iter().all(|r| r["path"].as_str().is_some_and(|path| !path.contains(&secret))),
        "{records:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_bounds_connections_and_heads_and_logs_no_secret() {
    let options = Options { private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    trace_is_refused(&mesh).await;
    paths_have_one_spelling(&mesh).await;
    the_access_log_has_no_secret(&mesh).await;
    a_slow_head_is_cut(mesh.plan().ingress()).await;
    assert!(counted(&mesh, "downstream_rq_header_timeout").await > 0);
    headers_are_bounded(&mesh).await;
    streams_of_a_connection_are_bounded(&mesh).await;
    connections_are_bounded(&mesh).await;
    idle_connections_end(&mesh).await;
    mesh.stop().await;
}
