//! Ten thousand event streams that are open at one worker, over HTTP/2: a revocation that concerns a tenth of them ends
//! those within a second, and no other.
#![cfg(feature = "slow")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, Options, TENANT, Target};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

/// Connections, and the streams of each: as many as the gateway takes.
const CONNECTIONS: usize = 100;
const STREAMS: usize = 100;

/// Sessions that the streams belong to, in equal parts.
const SESSIONS: usize = 10;

/// What it may take from the call until the last of them has ended.
const BOUND: Duration = Duration::from_secs(1);

/// Streams that are opened at a time.
const AT_ONCE: usize = 64;

/// How long one may take to open, and all of them, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(600);

type Pieces = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// One stream that is open: which session's, and what keeps its request's body open.
struct Open {
    session: usize,
    body: hyper::body::Incoming,
    pieces: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
}

/// By HTTP/2 to the sidecar, too: a connection for each stream would need more file descriptors than a process may have.
const TO_SIDECAR: &str = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: data-api, namespace: istio-system}
spec:
  host: data-api.acme-hosted.svc.cluster.local
  trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}
";

async fn start(gateway: Target) -> Mesh {
    let options = Options { private_manifests: true, gateway, gateway_workers: 1, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let routes = mesh.manifests().join("overlays/local/routes.yaml");
    let text = std::fs::read_to_string(&routes).unwrap();
    std::fs::write(&routes, [&text, TO_SIDECAR].concat()).unwrap();
    mesh.apply().await.unwrap();
    mesh
}

async fn connect(mesh: &Mesh) -> SendRequest<Pieces> {
    let stream = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Opens a stream, and returns when the first piece has come back over it.
async fn open(mut sender: SendRequest<Pieces>, session: usize, bearer: Arc<str>) -> Open {
    let (pieces, body) = mpsc::channel(1);
    pieces.send(Ok(Frame::data("ping".into()))).await.unwrap();
    let request = hyper::Request::post("http://gateway/stream")
        .header(SELECTOR, HOSTED)
        .header("accept", "text/event-stream")
        .header("authorization", &*bearer)
        .body(StreamBody::new(ReceiverStream::new(body)))
        .unwrap();
    sender.ready().await.unwrap();
    let (head, mut body) = sender.send_request(request).await.unwrap().into_parts();
    assert_eq!(head.status, 200);
    assert!(body.frame().await.expect("a piece").is_ok());
    Open { session, body, pieces }
}

async fn open_all(mesh: &Mesh) -> Vec<Open> {
    let (mut opening, mut all) = (JoinSet::new(), Vec::new());
    for connection in 0..CONNECTIONS {
        let session = connection % SESSIONS;
        let subject = format!("user-{connection}@acme.example");
        let extra = json!({"client_id": CLIENT_PEOPLE, "sid": format!("s-{session}"), "jti": subject,
            "exp": portcullis_mesh::idp::now_s() + 3600});
        let token = mesh.idp().sign(Algorithm::Es256, &claims(&subject, TENANT, &extra)).unwrap();
        let bearer: Arc<str> = format!("Bearer {token}").into();
        let sender = connect(mesh).await;
        for _ in 0..STREAMS {
            opening.spawn(open(sender.clone(), session, Arc::clone(&bearer)));
            if opening.len() >= AT_ONCE {
                all.push(opening.join_next().await.unwrap().unwrap());
            }
        }
    }
    all.extend(opening.join_all().await);
    all
}

async fn memory(mesh: &Mesh) -> u64 {
    mesh.stat(mesh.plan().ingress_admin(), "server.memory_allocated").await.unwrap()
}

async fn a_tenth_ends(gateway: Target) {
    let mesh = start(gateway).await;
    let (before, begun) = (memory(&mesh).await, Instant::now());
    let all = tokio::time::timeout(PATIENCE, open_all(&mesh)).await.expect("all open in time");
    println!("{} streams are open after {:?}", all.len(), begun.elapsed());
    // All have been looked at once, and the gateway's counters have been brought up to date.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let bytes = memory(&mesh).await.saturating_sub(before) / u64::try_from(all.len()).unwrap();
    println!("the gateway keeps {bytes} bytes for each");
    let revoked = 3;
    let others_ended = Arc::new(AtomicUsize::new(0));
    let mut ends = JoinSet::new();
    let mut others = JoinSet::new();
    for Open { session, mut body, pieces } in all {
        let others_ended = Arc::clone(&others_ended);
        let concerned = session == revoked;
        let watch = async move {
            while body.frame().await.is_some_and(|frame| frame.is_ok()) {}
            // Without it the request's body would have ended, and the stream by itself.
            drop(pieces);
            others_ended.fetch_add(usize::from(!concerned), Ordering::Relaxed);
            Instant::now()
        };
        if concerned {
            ends.spawn(watch)
        } else {
            others.spawn(watch)
        };
    }
    assert_eq!(ends.len(), CONNECTIONS * STREAMS / SESSIONS);
    let called = Instant::now();
    let body = json!({"name": format!("sid:s-{revoked}")});
    mesh.admin().unwrap().call("POST".parse().unwrap(), "/v1/revocations", Some(&body)).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, ends.join_all()).await.expect("they end");
    let took: Vec<Duration> = ended.iter().map(|ended| ended.duration_since(called)).collect();
    let (first, last) = (took.iter().min().unwrap(), took.iter().max().unwrap());
    println!("{} ended {} to {} ms after the call", took.len(), first.as_millis(), last.as_millis());
    // Whoever else would be ended has the same second.
    tokio::time::sleep(BOUND).await;
    assert_eq!(others_ended.load(Ordering::Relaxed), 0, "others were not concerned");
    mesh.stop().await;
    assert!(*last < BOUND, "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_ends_a_thousand_of_ten_thousand_streams_within_a_second() {
    a_tenth_ends(Target::Wasm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_ends_a_thousand_of_ten_thousand_streams_at_a_native_gateway() {
    a_tenth_ends(Target::Native).await;
}
