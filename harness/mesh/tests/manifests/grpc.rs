//! gRPC to a hosted cluster: its status comes in trailers, which HTTP/1.1 loses on the way (B14).

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{HOSTED, Mesh, Options};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::hosted::Hosted;

/// An empty message (uncompressed, of length 0).
const MESSAGE: &[u8] = &[0, 0, 0, 0, 0];

/// A Data API that speaks gRPC and nothing else: HTTP/2 without TLS, as to an application.
async fn serve(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let connection = server::Builder::new(TokioExecutor::new());
        // It ends with the connection.
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

async fn answer(_: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from_static(MESSAGE)), Frame::trailers(status)];
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok)));
    Ok(Response::builder().header("content-type", "application/grpc").body(BodyExt::boxed(body)).unwrap())
}

/// What a call brings: the status, the message, and the status of gRPC.
async fn call(mesh: &Mesh) -> Result<(u16, Bytes, String), hyper::Error> {
    let stream = TcpStream::connect(mesh.plan().ingress()).await.unwrap();
    let (mut sender, connection) = client::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::post("http://data-api/acme.Tables/List")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-portcullis-cluster", HOSTED)
        .header("x-portcullis-source-type", "human")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let told =
        trailers.get("grpc-status").and_then(|status| status.to_str().ok()).unwrap_or_default().to_owned();
    Ok((status, body.to_bytes(), told))
}

#[tokio::test]
async fn a_data_api_whose_port_says_grpc_is_called_with_trailers() {
    let options = Options { plugins: false, private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let address = SocketAddr::new(mesh.plan().hosted_api().ip(), 8085);
    let serving = tokio::spawn(serve(address));
    // What a Service's port is called, and which port the application has.
    let port = json!({"number": mesh.plan().hosted_sidecar().port(), "name": "grpc", "protocol": "GRPC"});
    let sidecar = json!([
        {"op": "replace", "path": "/spec/ingress/0/port", "value": port},
        {"op": "replace", "path": "/spec/ingress/0/defaultEndpoint", "value": format!("0.0.0.0:{}", address.port())},
    ]);
    let target = json!({"kind": "Sidecar", "name": "data-api", "namespace": HOSTED});
    let patch = json!({"target": target, "patch": sidecar.to_string()});
    Overlay::local(mesh.manifests()).edit_list("patches", |patches| patches.push(patch)).unwrap();
    let service = json!([
        {"op": "add", "path": "/spec/endpoints/0/labels/version", "value": "v1"},
        {"op": "replace", "path": "/spec/ports/0", "value": port},
    ]);
    Hosted::of_the_overlay().apply(&mesh, &service).await;
    wait::until("the answer with its trailers", &mesh.log("ingressgateway"), async || {
        Ok(match call(&mesh).await {
            Ok((200, message, status)) if message == MESSAGE && status == "0" => Seen::Done(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    })
    .await
    .unwrap();
    serving.abort();
    mesh.stop().await;
}
