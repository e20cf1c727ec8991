//! HTTP to neighbours: Envoy's admin page, and the Data API.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a neighbour may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const MOST: usize = 1 << 20;

/// Asks a neighbour, and gives the status and the text of its answer.
///
/// # Errors
/// In words.
pub(crate) async fn ask(host: &str, port: u16, method: Method, path: &str) -> Result<(u16, String), String> {
    let asked = tokio::time::timeout(PATIENCE, exchange(host, port, method, path)).await;
    asked
        .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
        .map_err(|error| error.to_string())
}

async fn exchange(
    host: &str,
    port: u16,
    method: Method,
    path: &str,
) -> Result<(u16, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { drop(connection.await) });
    let host = crate::connect::authority(host, port);
    let request =
        Request::builder().method(method).uri(path).header(HOST, host).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MOST).collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
