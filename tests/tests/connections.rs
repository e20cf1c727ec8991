//! What the gateway's Envoy bears before any filter of ours runs, and what its own log says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_mesh::control::CLIENT_PEOPLE;
use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{HOSTED, Mesh, Options, TENANT};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a request's head may take, by `gateway-connections.yaml`.
const HEAD: Duration = Duration::from_secs(10);

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

/// Lowers the bound in this mesh's own copy of the manifests.
async fn allow_few(mesh: &Mesh) {
    let file = mesh.manifests().join("base/gateway-connections.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("max_connections: 10000"));
    std::fs::write(&file, text.replace("max_connections: 10000", &format!("max_connections: {FEW}")))
        .unwrap();
    mesh.apply().await.unwrap();
    let page = Request::get(mesh.plan().ingress_admin(), "/config_dump?resource=dynamic_listeners");
    wait::until("the lower bound", &mesh.log("ingressgateway"), async || {
        let text = page.send().await?.text();
        // At both ports.
        let there = text.matches(&format!("\"max_connections\": \"{FEW}\"")).count() >= 2;
        Ok(if there { Seen::Done(()) } else { Seen::NotYet("the old one".to_owned()) })
    })
    .await
    .unwrap();
}

/// Those that are there go on, and one more is closed without an answer.
async fn connections_are_bounded(mesh: &Mesh) {
    allow_few(mesh).await;
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
    connections_are_bounded(&mesh).await;
    mesh.stop().await;
}
