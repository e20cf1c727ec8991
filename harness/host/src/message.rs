//! Requests that a test sends and answers that it scripts.

use std::time::Duration;

use crate::headers::HeaderMap;
use crate::property::{PropertyPath, PropertyTree, Value};

/// A request, as a client sends it (or a module, in a callout).
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Pseudo headers and headers.
    pub headers: HeaderMap,
    /// The body in the parts in which it arrives.
    pub body: Vec<Vec<u8>>,
    /// Trailers; none if empty.
    pub trailers: HeaderMap,
    pub(crate) worker: usize,
    pub(crate) properties: PropertyTree,
    pub(crate) exact: bool,
    pub(crate) open: bool,
    pub(crate) elsewhere: Option<Elsewhere>,
    pub(crate) http2: bool,
}

/// Who refuses a request before the plugins see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// Another filter, with this status.
    Filter(u16),
    /// The connection's codec, since the request is none.
    Codec,
}

impl Request {
    /// A request with this method and path to `http://localhost`.
    pub fn new(method: &str, path: &str) -> Self {
        let headers =
            [(":authority", "localhost"), (":path", path), (":method", method), (":scheme", "http")];
        Self { headers: headers.into(), ..Self::default() }
    }

    /// A GET request.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST request; add a [`body`](Self::body).
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// An extended CONNECT over HTTP/2 (RFC 8441), `websocket` for example: plugins see the upgrade of HTTP/1.1 that Envoy's
    /// codec makes of it. Its body stays open.
    pub fn extended_connect(path: &str, protocol: &str) -> Self {
        Self::get(path).header("upgrade", protocol).header("connection", "upgrade").http2().stay_open()
    }

    /// A request with exactly these headers; nothing is added to them, not even what Envoy's connection
    /// manager adds.
    pub fn exact(headers: impl Into<HeaderMap>) -> Self {
        Self { headers: headers.into(), exact: true, ..Self::default() }
    }

    /// Sets `:authority`.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        self.headers.set(":authority", authority);
        self
    }

    /// Sets `:scheme` to `https` and the connection's TLS properties.
    #[must_use]
    pub fn https(mut self) -> Self {
        self.headers.set(":scheme", "https");
        self.property("connection.tls_version", "TLSv1.3")
    }

    /// The client authenticated itself with a certificate of this URI (a SPIFFE id).
    #[must_use]
    pub fn peer(self, uri: &str) -> Self {
        self.https().property("connection.mtls", true).property("connection.uri_san_peer_certificate", uri)
    }

    /// Adds a header; call it again for a duplicate. Values may be any bytes.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// The whole body, in one part, with its `content-length`.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        self.headers.set("content-length", body.len().to_string());
        self.body = if body.is_empty() { Vec::new() } else { vec![body.to_vec()] };
        self
    }

    /// Adds a part of a chunked body.
    #[must_use]
    pub fn chunk(mut self, part: impl AsRef<[u8]>) -> Self {
        if self.headers.get_bytes("content-length").is_none() {
            self.headers.set("transfer-encoding", "chunked");
        }
        self.body.push(part.as_ref().to_vec());
        self
    }

    /// Adds a trailer.
    #[must_use]
    pub fn trailer(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.trailers.add(name, value);
        self
    }

    /// The worker that accepted the connection; 0 if not said.
    #[must_use]
    pub fn on_worker(mut self, worker: usize) -> Self {
        self.worker = worker;
        self
    }

    /// Sets a property that the module can read, for example `source.address`; see
    /// [`PropertyPath`] for names with dots.
    #[must_use]
    pub fn property(mut self, path: impl Into<PropertyPath>, value: impl Into<Value>) -> Self {
        self.properties.set(path, value);
        self
    }

    /// The request is not over after what was given so far: go on with
    /// [`Host::send_body`](crate::Host::send_body), [`send_trailers`](crate::Host::send_trailers),
    /// [`end_request`](crate::Host::end_request) or [`disconnect`](crate::Host::disconnect).
    #[must_use]
    pub fn stay_open(mut self) -> Self {
        self.open = true;
        self
    }

    /// The request comes over HTTP/2: the last part of its body carries the end of the stream, which in
    /// HTTP/1.1 comes after it, with an empty part.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self.headers.remove("transfer-encoding");
        self.property("request.protocol", "HTTP/2")
    }

    /// A filter in front of the plugins refuses the request with this status: the plugins only see it
    /// in `proxy_on_log`.
    #[must_use]
    pub fn refused_before_plugins(mut self, status: u16) -> Self {
        self.elsewhere = Some(Elsewhere::Filter(status));
        self
    }

    /// What came over the connection is no HTTP/1.1: the codec answers 400, and the plugins only see that
    /// in `proxy_on_log`, where there are no request headers.
    #[must_use]
    pub fn malformed(mut self) -> Self {
        self.elsewhere = Some(Elsewhere::Codec);
        self
    }

    /// The body in one piece.
    pub fn body_bytes(&self) -> Vec<u8> {
        self.body.concat()
    }
}

/// How an upstream ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Reset,
    Cut,
    Stalled,
    Refused,
    Never,
}

/// What an upstream does with a request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<Vec<u8>>,
    pub(crate) trailers: HeaderMap,
    pub(crate) delay: Duration,
    pub(crate) outcome: Outcome,
}

impl Answer {
    /// An answer with this status and no body.
    pub fn status(status: u16) -> Self {
        let headers = HeaderMap::from([(":status", status.to_string())]);
        Self {
            headers,
            body: Vec::new(),
            trailers: HeaderMap::new(),
            delay: Duration::ZERO,
            outcome: Outcome::Answered,
        }
    }

    /// 200 without a body.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// The connection is reset before any answer.
    pub fn reset() -> Self {
        Self { outcome: Outcome::Reset, ..Self::status(503) }
    }

    /// Cuts the connection after the headers and body given so far.
    #[must_use]
    pub fn cut(self) -> Self {
        Self { outcome: Outcome::Cut, ..self }
    }

    /// Nothing comes after the headers and body given so far; only a time-out or the client ends it.
    #[must_use]
    pub fn stall(self) -> Self {
        Self { outcome: Outcome::Stalled, ..self }
    }

    /// The connection is refused.
    pub fn refused() -> Self {
        Self { outcome: Outcome::Refused, ..Self::status(503) }
    }

    /// No answer ever comes; only a time-out ends the request.
    pub fn never() -> Self {
        Self { outcome: Outcome::Never, ..Self::status(503) }
    }

    /// A unary gRPC answer: a message (protobuf bytes, without the gRPC frame) and status 0.
    pub fn grpc(message: impl AsRef<[u8]>) -> Self {
        let mut answer = Self::ok().header("content-type", "application/grpc").trailer("grpc-status", "0");
        answer.body = vec![message.as_ref().to_vec()];
        answer
    }

    /// A gRPC error.
    pub fn grpc_error(code: u32, message: &str) -> Self {
        Self::ok()
            .header("content-type", "application/grpc")
            .trailer("grpc-status", code.to_string())
            .trailer("grpc-message", message)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// The whole body, in one part, with its `content-length`.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        self.headers.set("content-length", body.len().to_string());
        self.body = if body.is_empty() { Vec::new() } else { vec![body.to_vec()] };
        self
    }

    /// Adds a part of a chunked body.
    #[must_use]
    pub fn chunk(mut self, part: impl AsRef<[u8]>) -> Self {
        if self.headers.get_bytes("content-length").is_none() {
            self.headers.set("transfer-encoding", "chunked");
        }
        self.body.push(part.as_ref().to_vec());
        self
    }

    /// Adds a trailer.
    #[must_use]
    pub fn trailer(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.trailers.add(name, value);
        self
    }

    /// The body in one piece.
    pub fn body_bytes(&self) -> Vec<u8> {
        self.body.concat()
    }

    pub(crate) fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body.concat()).into_owned()
    }

    /// The answer (or reset, or refusal) comes after this much virtual time.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}
