//! gRPC streams, WebSockets (RFC 8441) and long uploads that are open while something changes on which they stand. All
//! of them share one HTTP/2 connection: those that are concerned end within a second of the administrator's call, and
//! only those.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, ONPREM, Options, TENANT, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

/// What it may take from the call until a stream has ended.
const BOUND: Duration = Duration::from_secs(1);

/// How often an upload sends a piece.
const PACE: Duration = Duration::from_millis(100);

const GRPC: &str = "application/grpc";
const BINARY: &str = "application/octet-stream";

type Pieces = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;
type Answer = hyper::Result<hyper::Response<Incoming>>;

/// A client with one connection.
struct Client {
    sender: SendRequest<Pieces>,
    ann: String,
    bob: String,
}

impl Client {
    async fn new(mesh: &Mesh) -> Self {
        let stream = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let token = |subject: &str| {
            let all = claims(subject, TENANT, &json!({"client_id": CLIENT_PEOPLE}));
            mesh.idp().sign(Algorithm::Rs256, &all).unwrap()
        };
        Self { sender, ann: token("ann@acme.example"), bob: token("bob@acme.example") }
    }

    /// Begins a request, whose body never ends by itself.
    fn begin(&self, token: &str, (path, content_type, cluster): (&str, &str, &str)) -> Upload {
        let (pieces, body) = mpsc::channel(1);
        let request = hyper::Request::post(format!("http://gateway{path}"))
            .header("content-type", content_type)
            .header("te", "trailers")
            .header(SELECTOR, cluster)
            .header("authorization", format!("Bearer {token}"))
            .body(StreamBody::new(ReceiverStream::new(body)))
            .unwrap();
        let mut sender = self.sender.clone();
        let answer = tokio::spawn(async move {
            sender.ready().await?;
            sender.send_request(request).await
        });
        let sending = tokio::spawn(async move {
            // Until nobody takes them any more.
            while pieces.send(Ok(Frame::data("ping".into()))).await.is_ok() {
                tokio::time::sleep(PACE).await;
            }
        });
        Upload { answer, sending }
    }
}

impl Client {
    /// A CONNECT with this protocol (RFC 8441), or without one, which asks for a tunnel (RFC 9113 §8.5).
    async fn connect(
        &self,
        protocol: Option<&'static str>,
        cluster: &str,
        token: Option<&str>,
    ) -> hyper::Response<Incoming> {
        let uri = protocol.map_or("gateway:443", |_| "http://gateway/socket");
        let mut request =
            hyper::Request::connect(uri).header(SELECTOR, cluster).header("sec-websocket-version", "13");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (_, nothing) = mpsc::channel(1);
        let mut request = request.body(StreamBody::new(ReceiverStream::new(nothing))).unwrap();
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Protocol::from_static(protocol));
        }
        let mut sender = self.sender.clone();
        sender.ready().await.unwrap();
        let answer = tokio::time::timeout(wait::PATIENCE, sender.send_request(request)).await;
        answer.expect("an answer").unwrap()
    }

    /// A WebSocket over which something has come back.
    async fn web_socket(&self, token: &str, cluster: &str) -> TokioIo<Upgraded> {
        let answer = self.connect(Some("websocket"), cluster, Some(token)).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        let mut socket = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        assert_answers(&mut socket).await;
        socket
    }
}

/// Sends something over a WebSocket, which comes back.
async fn assert_answers(socket: &mut TokioIo<Upgraded>) {
    socket.write_all(b"ping").await.unwrap();
    let mut seen = [0; 4];
    tokio::time::timeout(wait::PATIENCE, socket.read_exact(&mut seen)).await.expect("it comes back").unwrap();
    assert_eq!(&seen, b"ping");
}

/// Reads a WebSocket until it ends.
async fn end_of_socket(mut socket: TokioIo<Upgraded>) -> Instant {
    while socket.read(&mut [0; 1024]).await.is_ok_and(|size| size > 0) {}
    Instant::now()
}

/// What is no WebSocket of somebody: refused as any other request is, on a connection that goes on.
async fn connects_are_refused(client: &Client) {
    for (protocol, token, status, reason) in [
        // It asks for a tunnel.
        (None, Some(&client.ann), 501, "method_refused"),
        (Some("websocket"), None, 401, "credential_missing"),
    ] {
        let answer = client.connect(protocol, HOSTED, token.map(String::as_str)).await;
        let told = answer.headers().get("x-portcullis-reason").map(|reason| reason.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), told), (status, Some(reason)), "{protocol:?}");
    }
    // Envoy takes the upgrades that it is told of, and Istio tells it of WebSockets alone.
    let answer = client.connect(Some("connect-ip"), HOSTED, Some(&client.bob)).await;
    assert_eq!(answer.status(), 403, "{:?}", answer.headers());
}

/// A request under way.
struct Upload {
    answer: JoinHandle<Answer>,
    sending: JoinHandle<()>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl Upload {
    /// The answer, which has to come in time, and when it came.
    async fn answered(&mut self, name: &str) -> (hyper::Response<Incoming>, Instant) {
        let answer = tokio::time::timeout(wait::PATIENCE, &mut self.answer).await.expect(name);
        (answer.unwrap().unwrap_or_else(|error| panic!("{name}: {error:?}")), Instant::now())
    }

    fn assert_waits(&self, name: &str) {
        assert!(!self.answer.is_finished(), "{name} was not concerned");
    }
}

/// Reads what is sent back until it ends: when, and whether by a reset of this stream alone.
async fn end_of(mut body: Incoming) -> (Instant, bool) {
    loop {
        match body.frame().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return (Instant::now(), format!("{error:?}").contains("Reset")),
            None => return (Instant::now(), false),
        }
    }
}

fn assert_in_time(name: &str, called: Instant, ended: Instant) {
    let took = ended.duration_since(called);
    println!("{name}: ended {} ms after the call", took.as_millis());
    assert!(took < BOUND, "{name}: {took:?}");
}

/// What the gateway recorded of a subject's requests to a path, the oldest first, once there are so many.
async fn records(mesh: &Mesh, path: &str, subject: &str, count: usize) -> Vec<Value> {
    wait::until("audit records", &mesh.log("control"), async || {
        let mut found = mesh.admin()?.audit("limit=1000").await?;
        found.retain(|r| r["path"] == path && r["subject"] == subject);
        found.sort_by_key(|r| (r["time_ms"].as_u64(), r["sequence"].as_u64()));
        Ok(if found.len() >= count { Seen::Done(found) } else { Seen::NotYet(format!("{found:?}")) })
    })
    .await
    .unwrap()
}

async fn uploads_end_within_a_second(gateway: Target) {
    let options = Options { gateway, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let client = Client::new(&mesh).await;
    connects_are_refused(&client).await;
    // `/stream` sends back what comes; the other paths answer when the whole body is there.
    let mut of_ann = [
        client.begin(&client.ann, ("/stream", GRPC, HOSTED)),
        client.begin(&client.ann, ("/stream", GRPC, ONPREM)),
    ];
    let mut of_bob = client.begin(&client.bob, ("/stream", GRPC, ONPREM));
    let (mut streams, mut sockets) = (Vec::new(), Vec::new());
    for stream in &mut of_ann {
        let (head, body) = stream.answered("a gRPC stream").await.0.into_parts();
        assert_eq!(head.status, 200);
        streams.push(tokio::spawn(end_of(body)));
    }
    let mut bobs = of_bob.answered("another subject's gRPC stream").await.0.into_body();
    for cluster in [HOSTED, ONPREM] {
        sockets.push(tokio::spawn(end_of_socket(client.web_socket(&client.ann, cluster).await)));
    }
    let mut bobs_socket = client.web_socket(&client.bob, ONPREM).await;
    let mut silent = client.begin(&client.ann, ("/call", GRPC, HOSTED));
    let mut uploads = [
        ("a long upload", client.begin(&client.ann, ("/upload", BINARY, HOSTED))),
        ("a long upload through the tunnel", client.begin(&client.ann, ("/upload", BINARY, ONPREM))),
    ];
    let others = client.begin(&client.bob, ("/upload", BINARY, HOSTED));
    records(&mesh, "/upload", "ann@acme.example", 2).await;
    records(&mesh, "/call", "ann@acme.example", 1).await;
    records(&mesh, "/socket", "ann@acme.example", 2).await;

    let called = Instant::now();
    let revocation = json!({"name": "sub:ann@acme.example"});
    mesh.admin().unwrap().call("POST".parse().unwrap(), "/v1/revocations", Some(&revocation)).await.unwrap();
    for stream in streams {
        let (ended, was_reset) = tokio::time::timeout(wait::PATIENCE, stream).await.unwrap().unwrap();
        assert!(was_reset, "it is a reset of the stream");
        assert_in_time("a gRPC stream that was answered", called, ended);
    }
    for socket in sockets {
        let ended = tokio::time::timeout(wait::PATIENCE, socket).await.unwrap().unwrap();
        assert_in_time("a WebSocket", called, ended);
    }
    let (answer, ended) = silent.answered("a gRPC call").await;
    assert_in_time("a gRPC call without an answer", called, ended);
    let told = ["grpc-status", "x-portcullis-reason"]
        .map(|name| answer.headers()[name].to_str().unwrap().to_owned());
    assert_eq!((answer.status().as_u16(), told), (200, ["16".to_owned(), "credential_revoked".to_owned()]));
    for (name, upload) in &mut uploads {
        let (answer, ended) = upload.answered(name).await;
        assert_in_time(name, called, ended);
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-portcullis-reason"]),
            (401, &"credential_revoked".parse().unwrap())
        );
    }
    // The same connection, and what is not concerned.
    others.assert_waits("another subject's upload");
    let next = tokio::time::timeout(wait::EXCHANGE, bobs.frame()).await.expect("a piece");
    assert!(next.is_some_and(|frame| frame.is_ok()), "another subject's gRPC stream goes on");

    assert_answers(&mut bobs_socket).await;

    for (path, count) in [("/stream", 4), ("/socket", 4), ("/upload", 4), ("/call", 2)] {
        let all = records(&mesh, path, "ann@acme.example", count).await;
        let ends: Vec<&Value> = all.iter().filter(|r| r["decision"] == "end").collect();
        assert_eq!((all.len(), ends.len()), (count, count / 2), "{path}: {all:?}");
        for end in ends {
            assert_eq!(
                (&end["stage"], &end["reason"]),
                (&json!("authn"), &json!("credential_revoked")),
                "{end}"
            );
            assert!(
                end["request_bytes"].as_u64() > Some(0) && end["duration_us"].as_u64() > Some(0),
                "{end}"
            );
        }
    }
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_streams_and_uploads_end_within_a_second() {
    uploads_end_within_a_second(Target::Wasm).await;
}

#[cfg(feature = "slow")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_streams_and_uploads_end_within_a_second_at_a_native_gateway() {
    uploads_end_within_a_second(Target::Native).await;
}
