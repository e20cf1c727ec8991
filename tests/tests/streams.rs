//! Streams that are open while something changes on which they stand: at the gateway, through the tunnel, and at a
//! sidecar. Those that are concerned end within a second of the administrator's call, the others go on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_identity::HEADER;
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, ONPREM, Options, TENANT, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What it may take from the call until a stream has ended.
const BOUND: Duration = Duration::from_secs(1);

/// What is sent over a stream, and comes back.
const PING: &[u8] = b"4\r\nping\r\n";

/// A stream that a client keeps open.
struct Open {
    name: &'static str,
    /// Gives when it ended.
    ends: JoinHandle<Instant>,
}

impl Open {
    /// Opens a stream, and returns when the first piece has come back over it.
    async fn new(name: &'static str, address: SocketAddr, head: &str) -> Self {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        connection.write_all(PING).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|part| part == b"ping") {
            let mut part = [0; 1024];
            let size = connection.read(&mut part).await.unwrap();
            assert!(size > 0, "{name}: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&part[..size]);
        }
        let ends = tokio::spawn(async move {
            // A reset is an end, too.
            while connection.read(&mut [0; 1024]).await.is_ok_and(|size| size > 0) {}
            Instant::now()
        });
        Self { name, ends }
    }

    async fn assert_ends_after(self, called: Instant) {
        let ended = tokio::time::timeout(wait::PATIENCE, self.ends).await.expect(self.name).unwrap();
        let took = ended.duration_since(called);
        println!("{}: ended {} ms after the call", self.name, took.as_millis());
        assert!(took < BOUND, "{}: {took:?}", self.name);
    }

    fn assert_open(&self) {
        assert!(!self.ends.is_finished(), "{} was not concerned", self.name);
    }
}

fn token(mesh: &Mesh, subject: &str, lives_s: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let extra = json!({"client_id": CLIENT_PEOPLE, "exp": now + lives_s});
    mesh.idp().sign(Algorithm::Rs256, &claims(subject, TENANT, &extra)).unwrap()
}

/// An event stream of somebody, to a cluster.
async fn event_stream(mesh: &Mesh, name: &'static str, cluster: &str, token: &str) -> Open {
    let head = format!(
        "POST /stream HTTP/1.1\r\nhost: gateway\r\n{SELECTOR}: {cluster}\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked"
    );
    Open::new(name, mesh.plan().ingress(), &head).await
}

async fn web_socket(mesh: &Mesh, name: &'static str, cluster: &str, token: &str) -> Open {
    let head = format!(
        "GET /socket HTTP/1.1\r\nhost: gateway\r\n{SELECTOR}: {cluster}\r\nauthorization: Bearer {token}\r\n\
         connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
    );
    Open::new(name, mesh.plan().ingress(), &head).await
}

async fn post(mesh: &Mesh, path: &str, body: &Value) {
    mesh.admin().unwrap().call("POST".parse().unwrap(), path, Some(body)).await.unwrap();
}

/// The records of requests to a path by a subject, the oldest first, once there are so many.
async fn records(mesh: &Mesh, path: &str, subject: &str, count: usize) -> Vec<Value> {
    wait::until("audit records", &mesh.log("control"), async || {
        let mut found = mesh.admin()?.audit("limit=1000").await?;
        found.retain(|r| r["path"] == path && r["subject"] == subject && r["hop"] == "gateway");
        found.sort_by_key(|r| (r["time_ms"].as_u64(), r["sequence"].as_u64()));
        Ok(if found.len() >= count { Seen::Done(found) } else { Seen::NotYet(format!("{found:?}")) })
    })
    .await
    .unwrap()
}

fn told(record: &Value) -> [&str; 3] {
    ["decision", "stage", "reason"].map(|name| record[name].as_str().unwrap_or_default())
}

/// What concerns a stream ends it; the others go on until what concerns them.
async fn at_the_gateway(mesh: &Mesh) {
    let (ann, bob) = (token(mesh, "ann@acme.example", 600), token(mesh, "bob@acme.example", 600));
    let of_ann = [
        event_stream(mesh, "revoked subject: event stream", HOSTED, &ann).await,
        web_socket(mesh, "revoked subject: WebSocket", HOSTED, &ann).await,
        event_stream(mesh, "revoked subject: through the tunnel", ONPREM, &ann).await,
        web_socket(mesh, "revoked subject: WebSocket through the tunnel", ONPREM, &ann).await,
    ];
    let of_bob = [
        event_stream(mesh, "suspended cluster: event stream", HOSTED, &bob).await,
        web_socket(mesh, "suspended cluster: WebSocket", HOSTED, &bob).await,
    ];
    let elsewhere = event_stream(mesh, "another cluster: through the tunnel", ONPREM, &bob).await;
    records(mesh, "/stream", "ann@acme.example", 2).await;
    let called = Instant::now();
    post(mesh, "/v1/revocations", &json!({"name": "sub:ann@acme.example"})).await;
    for stream in of_ann {
        stream.assert_ends_after(called).await;
    }
    of_bob.iter().for_each(Open::assert_open);
    let called = Instant::now();
    mesh.admin().unwrap().administer(HOSTED, "suspend", 0).await.unwrap();
    for stream in of_bob {
        stream.assert_ends_after(called).await;
    }
    elsewhere.assert_open();
    mesh.admin().unwrap().administer(HOSTED, "resume", 30).await.unwrap();
    let mut both = records(mesh, "/socket", "ann@acme.example", 4).await;
    both.retain(|record| record["cluster"] == HOSTED);
    assert_eq!(told(&both[0]), ["open", "", ""], "{both:?}");
    assert_eq!(told(&both[1]), ["end", "authn", "credential_revoked"], "{both:?}");
    assert_eq!(both[0]["request_id"], both[1]["request_id"]);
    // Two that began, and the end of one of them.
    let mut both = records(mesh, "/stream", "bob@acme.example", 3).await;
    both.retain(|record| record["cluster"] == HOSTED);
    assert_eq!(told(&both[1]), ["end", "cluster-status", "cluster_suspended"], "{both:?}");
    assert!(
        both[1]["duration_us"].as_u64() > Some(0) && both[1]["response_bytes"].as_u64() > Some(0),
        "{both:?}"
    );
}

/// A stream whose token ends. The issuer of the sample allows no leeway that would make this long.
async fn with_the_token(mesh: &Mesh) {
    let short = token(mesh, "eve@acme.example", 3);
    let stream = event_stream(mesh, "expired token", HOSTED, &short).await;
    tokio::time::timeout(wait::PATIENCE, stream.ends).await.expect("it ends with its token").unwrap();
    let both = records(mesh, "/stream", "eve@acme.example", 2).await;
    assert_eq!(told(&both[1]), ["end", "authn", "token_expired"], "{both:?}");
}

/// A stream that passed the gateway long ago, as the sidecar sees it: the request goes to the sidecar alone.
async fn at_the_sidecar(mesh: &Mesh) {
    let bearer = token(mesh, "sid@acme.example", 600);
    let through_gateway = mesh.get("/tables").header(SELECTOR, HOSTED).bearer(&bearer);
    let identity = mesh.identity_token(&through_gateway).await.unwrap();
    let request =
        mesh.at_sidecar().unwrap().at("/stream").method("POST".parse().unwrap()).header(HEADER, identity);
    let (pieces, body) = mpsc::channel(1);
    let answered = tokio::spawn(async move { (request.send_slowly(body).await, Instant::now()) });
    pieces.send("ping".into()).await.unwrap();
    wait::until("the record of its beginning", &mesh.log("control"), async || {
        let all = mesh.admin()?.audit("limit=1000").await?;
        let at_sidecar = |r: &Value| r["hop"] == "sidecar" && told(r)[0] == "open";
        Ok(if all.iter().any(at_sidecar) { Seen::Done(()) } else { Seen::NotYet("none".to_owned()) })
    })
    .await
    .unwrap();
    let called = Instant::now();
    post(mesh, "/v1/revocations", &json!({"name": "sub:sid@acme.example"})).await;
    let (answer, ended) = tokio::time::timeout(wait::PATIENCE, answered).await.expect("it ends").unwrap();
    assert!(answer.is_err(), "it was cut off: {answer:?}");
    let took = ended.duration_since(called);
    println!("at the sidecar: ended {} ms after the call", took.as_millis());
    assert!(took < BOUND, "{took:?}");
}

/// What is open when the gateway is killed is on record.
async fn when_the_gateway_is_killed(mesh: &mut Mesh) {
    let bearer = token(mesh, "kim@acme.example", 600);
    let stream = event_stream(mesh, "open when the gateway was killed", HOSTED, &bearer).await;
    records(mesh, "/stream", "kim@acme.example", 1).await;
    assert!(mesh.kill("ingressgateway").await);
    stream.ends.await.unwrap();
    let all = records(mesh, "/stream", "kim@acme.example", 1).await;
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), [["open", "", ""]], "{all:?}");
}

async fn streams_end_within_a_second(gateway: Target) {
    let options = Options { private_manifests: true, gateway, ..Options::default() };
    let mut mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    at_the_gateway(&mesh).await;
    with_the_token(&mesh).await;
    mesh.guard_sidecar().await.unwrap();
    at_the_sidecar(&mesh).await;
    when_the_gateway_is_killed(&mut mesh).await;
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_end_within_a_second_of_what_concerns_them() {
    streams_end_within_a_second(Target::Wasm).await;
}

#[cfg(feature = "slow")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_end_within_a_second_at_a_native_gateway() {
    streams_end_within_a_second(Target::Native).await;
}
