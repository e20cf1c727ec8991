//! A client that speaks HTTP/2, without TLS.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::case::{Body, Message, Sent};

/// Sends a request over a connection of its own. `None`: the stream ended without an answer.
///
/// # Errors
/// If there is no connection.
pub(crate) fn send(to: SocketAddr, sent: &Sent) -> std::io::Result<Option<Message>> {
    std::thread::sleep(Duration::from_millis(sent.pause));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = TcpStream::connect(to).await?;
        let answer = tokio::time::timeout(Duration::from_secs(sent.patience), exchange(stream, sent));
        Ok(answer.await.ok().flatten())
    })
}

async fn exchange(stream: TcpStream, sent: &Sent) -> Option<Message> {
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let (head, body) = client.send_request(request(sent)).await.ok()?.into_parts();
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = std::iter::once((&b":status"[..], head.status.as_str().as_bytes()));
    Some(Message::new(status.chain(pairs(&head.headers)), &body.to_bytes(), pairs(&trailers)))
}

fn pairs(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

fn request(sent: &Sent) -> Request<Parts> {
    let uri = format!("http://localhost{}", sent.path);
    let mut request = Request::builder().method(sent.method.as_str()).uri(uri);
    for (name, value) in &sent.headers {
        request = request.header(name.as_slice(), value.as_slice());
    }
    if let Body::Whole(body) = &sent.body {
        request = request.header("content-length", body.len());
    }
    let mut request = request.body(Parts::new(&sent.body)).expect("a request");
    if let Some(protocol) = &sent.protocol {
        request.extensions_mut().insert(Protocol::from(protocol.as_str()));
    }
    request
}

/// A body whose last part, or whose trailers, carry the end of the stream.
struct Parts {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// It never ends.
    open: bool,
}

impl Parts {
    fn new(body: &Body) -> Self {
        let parts = |parts: &[Vec<u8>]| parts.iter().cloned().map(Bytes::from).collect();
        let (data, trailers) = match body {
            Body::None => (VecDeque::new(), None),
            Body::Whole(body) => (parts(std::slice::from_ref(body)), None),
            Body::Chunks(chunks, trailers) => (parts(chunks), Some(trailers).filter(|all| !all.is_empty())),
            Body::Unfinished(chunks) => (parts(chunks), None),
        };
        let pair = |(name, value): &(String, String)| {
            (name.parse().expect("a name"), value.parse().expect("a value"))
        };
        let trailers = trailers.map(|all| all.iter().map(pair).collect());
        Self { data, trailers, open: matches!(body, Body::Unfinished(_)) }
    }
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(data) = self.data.pop_front() {
            Poll::Ready(Some(Ok(Frame::data(data))))
        } else if self.open {
            Poll::Pending
        } else {
            Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none() && !self.open
    }
}
