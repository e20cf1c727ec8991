//! A small HTTP client for loopback: one connection per request, headers as bytes, so that scenarios can send
//! what a well-behaved client would not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::{MeshError, Result};
use crate::tls::Tls;
use crate::wait::EXCHANGE;

/// A request to one address.
#[derive(Debug, Clone)]
pub struct Request {
    address: SocketAddr,
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
    invalid: Option<String>,
    tls: Option<Tls>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, duplicates kept.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
    /// From the first byte sent to the last byte read.
    pub elapsed: Duration,
    /// The client's own end of the connection, which is this request's alone.
    pub from: SocketAddr,
}

impl Request {
    /// A request with a method and a path.
    #[must_use]
    pub fn new(method: Method, address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            invalid: None,
            tls: None,
        }
    }

    /// A GET request.
    #[must_use]
    pub fn get(address: SocketAddr, path: &str) -> Self {
        Self::new(Method::GET, address, path)
    }

    /// A GET request of `/` to the same address, with the same certificate, and with nothing else of this one.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { tls: self.tls.clone(), ..Self::get(self.address, "/") }
    }

    /// The same request with another path.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// The same request with another method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn over(mut self, tls: &Tls) -> Self {
        self.tls = Some(tls.clone());
        self
    }

    /// Adds a header; one of the same name before it stays. The value may hold any bytes but controls.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_ref())) {
            (Ok(name), Ok(value)) => self.headers.push((name, value)),
            _ => self.invalid = Some(format!("{name:?} or its value cannot be a header")),
        }
        self
    }

    /// Adds `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sends this as the body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// Sends JSON as the body.
    #[must_use]
    pub fn json(mut self, value: &serde_json::Value) -> Self {
        self.body = value.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    /// Sends a form as the body, its fields percent-encoded.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        self.body = form.extend_pairs(fields).finish().into_bytes();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Sends it over a connection of its own.
    ///
    /// # Errors
    /// [`MeshError::Http`] when no answer comes: refused, reset, or slower than [`EXCHANGE`].
    pub async fn send(&self) -> Result<Response> {
        match tokio::time::timeout(EXCHANGE, self.exchange(Full::new(self.body.clone().into()))).await {
            Ok(result) => result.map_err(|reason| self.failed(reason)),
            Err(_) => Err(self.failed(format!("no answer within {} s", EXCHANGE.as_secs()))),
        }
    }

    /// Sends its head at once, and as its body what comes from elsewhere, however long that takes. A GET has
    /// no body.
    ///
    /// # Errors
    /// [`MeshError::Http`] when the connection ends without an answer.
    pub async fn send_slowly(&self, body: Receiver<Bytes>) -> Result<Response> {
        let parts = ReceiverStream::new(body).map(|part| Ok::<_, Infallible>(Frame::data(part)));
        self.exchange(StreamBody::new(parts)).await.map_err(|reason| self.failed(reason))
    }

    async fn exchange<B>(&self, body: B) -> std::result::Result<Response, String>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        if let Some(reason) = &self.invalid {
            return Err(reason.clone());
        }
        let start = Instant::now();
        let stream = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let from = stream.local_addr().map_err(|e| e.to_string())?;
        let (status, headers, body) = match &self.tls {
            None => self.speak(stream, body).await?,
            Some(tls) => {
                let stream = tls.connect(stream).await.map_err(|e| format!("cut off: no TLS: {e}"))?;
                self.speak(stream, body).await?
            }
        };
        Ok(Response { status, headers, body, elapsed: start.elapsed(), from })
    }

    async fn speak<B>(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        body: B,
    ) -> std::result::Result<(u16, HeaderMap, Vec<u8>), String>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| format!("no HTTP: {e}"))?;
        let driver = tokio::spawn(connection);
        let mut builder = hyper::Request::builder().method(&self.method).uri(&self.path);
        if !self.headers.iter().any(|(name, _)| name == HOST) {
            builder = builder.header(HOST, self.address.to_string());
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let request = builder.body(body).map_err(|e| format!("not a request: {e}"))?;
        let response = sender.send_request(request).await.map_err(|e| format!("cut off: {e}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| format!("cut off: {e}"))?.to_bytes().to_vec();
        driver.abort();
        Ok((parts.status.as_u16(), parts.headers, body))
    }

    fn failed(&self, reason: String) -> MeshError {
        MeshError::Http {
            method: self.method.to_string(),
            address: self.address,
            path: self.path.clone(),
            reason,
        }
    }
}

impl Response {
    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The first value of a header; empty if there is none or it is not ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
