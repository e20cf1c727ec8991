//! A sample Data API: says what reached it, and accepts a request only with an identity that the gateway has
//! signed for this cluster.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use hyper_util::rt::TokioIo;
use portcullis_identity::ClusterId;
use portcullis_identity::{HEADER, VerifiedIdentity, Verifier, VerifyError};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::{MeshError, Result};

/// The keys that a Data API trusts.
#[derive(Clone, Default)]
pub struct Trust(Arc<Keys>);

#[derive(Default)]
struct Keys {
    verifier: RwLock<Option<Verifier>>,
    source: OnceLock<Source>,
}

/// Who publishes the keys, and what their tokens must say.
struct Source {
    platform: SocketAddr,
    issuer: String,
    cluster: ClusterId,
}

impl Trust {
    /// Trusts these keys from now on.
    pub fn set(&self, verifier: Verifier) {
        *self.0.verifier.write().unwrap_or_else(PoisonError::into_inner) = Some(verifier);
    }

    /// Trusts the keys that the control service publishes: they are fetched now, and again when a token names
    /// one that is not among them.
    ///
    /// # Errors
    /// When they cannot be had.
    pub async fn follow(&self, platform: SocketAddr, issuer: &str, cluster: ClusterId) -> Result<()> {
        let issuer = issuer.to_owned();
        self.fetch(self.0.source.get_or_init(|| Source { platform, issuer, cluster })).await
    }

    async fn fetch(&self, source: &Source) -> Result<()> {
        let Source { platform, issuer, cluster } = source;
        let jwks = crate::http::Request::get(*platform, "/v1/identity/jwks").send().await?.text();
        let verifier = Verifier::from_jwks(&jwks, issuer, cluster.clone()).map_err(|error| {
            MeshError::Token { what: format!("trust of {}", cluster.as_str()), reason: error.to_string() }
        })?;
        self.set(verifier);
        Ok(())
    }

    /// What a request's identity amounts to: who is calling, or why that is not known.
    async fn judge(&self, headers: &HeaderMap) -> std::result::Result<Value, String> {
        let mut tokens = headers.get_all(HEADER).iter();
        let (Some(token), None) = (tokens.next(), tokens.next()) else {
            return Err(format!("expected exactly one {HEADER} header"));
        };
        let token = token.to_str().map_err(|_| "the token is not ASCII".to_owned())?;
        let mut verified = self.verify(token);
        if let (Err(VerifyError::UnknownKey), Some(source)) = (&verified, self.0.source.get()) {
            // While the control service is down, the last key set stays in use.
            if self.fetch(source).await.is_ok() {
                verified = self.verify(token);
            }
        }
        let caller = verified.map_err(|error| error.to_string())?;
        Ok(json!({
            "subject": caller.subject.as_str(),
            "tenant": caller.tenant.as_str(),
            "source_type": caller.source_type.as_str(),
            "cluster": caller.cluster.as_str(),
            "credential": caller.credential.as_str(),
            "actors": caller.actors.iter().map(portcullis_identity::ids::Subject::as_str).collect::<Vec<_>>(),
        }))
    }

    fn verify(&self, token: &str) -> std::result::Result<VerifiedIdentity, VerifyError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let verifier = self.0.verifier.read().unwrap_or_else(PoisonError::into_inner);
        verifier.as_ref().ok_or(VerifyError::KeySet)?.verify(token, now)
    }
}

/// How a Data API treats requests.
#[derive(Clone)]
pub struct DataApi {
    /// The cluster that it stands in.
    pub cluster: ClusterId,
    /// Whose identity tokens it accepts.
    pub trust: Trust,
    /// Whether a request without a valid identity is refused, or only reported as such.
    pub require_identity: bool,
}

/// Serves a Data API until the task is dropped: `/-/probe` for the platform, `/forge` which answers with
/// headers that only Portcullis may set, `/mcp` with one tool, `/stream` and the WebSocket `/socket` which send back at once each piece
/// that comes, and everything else, which is echoed as JSON.
///
/// # Errors
/// When the address is in use.
pub async fn serve(api: DataApi, address: SocketAddr) -> Result<JoinHandle<()>> {
    let listener =
        TcpListener::bind(address).await.map_err(|_| crate::port::busy(address, "the sample Data API"))?;
    let router = Router::new()
        .route("/-/probe", get(|| async { "ok" }))
        .route("/forge", any(forge))
        .route("/stream", any(stream))
        .route("/socket", get(socket))
        .route("/mcp", post(mcp))
        .fallback(echo)
        .with_state(api);
    Ok(tokio::spawn(async move {
        // It ends when the task is dropped.
        let _ = axum::serve(listener, router).await;
    }))
}

async fn forge() -> impl IntoResponse {
    let forged = [
        ("x-portcullis-reason", "forged"),
        ("x-portcullis-subject", "forged"),
        ("x_portcullis_subject", "forged"),
        ("x-data-api", "kept"),
    ];
    (forged, "an answer with forged headers")
}

/// Sends each piece of the request's body back as soon as it is there.
async fn stream(State(api): State<DataApi>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if api.require_identity && api.trust.judge(&head.headers).await.is_err() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    ([("content-type", "text/event-stream")], Body::from_stream(body.into_data_stream())).into_response()
}

/// Takes the connection over for a WebSocket, and sends back every byte that comes: of frames it knows nothing.
async fn socket(State(api): State<DataApi>, request: Request) -> Response {
    if api.require_identity && api.trust.judge(request.headers()).await.is_err() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
            // It ends with the connection.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "websocket")]).into_response()
}

/// A server of the Model Context Protocol with one tool, which says who is calling (Streamable HTTP, without streams
/// and sessions).
async fn mcp(State(api): State<DataApi>, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    let Ok(caller) = api.trust.judge(&headers).await else { return StatusCode::UNAUTHORIZED.into_response() };
    let Some(id) = asked.get("id") else { return StatusCode::ACCEPTED.into_response() };
    let text = |name: &str| caller[name].as_str().unwrap_or_default().to_owned();
    let result = match asked["method"].as_str().unwrap_or_default() {
        "initialize" => {
            json!({"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}},
            "serverInfo": {"name": "sample", "version": "1"}})
        }
        "tools/list" => json!({"tools": [{"name": "whoami", "inputSchema": {"type": "object"}}]}),
        "tools/call" => {
            let said = [text("subject"), text("source_type")].join(" ");
            json!({"content": [{"type": "text", "text": said}]})
        }
        _ => {
            let error = json!({"code": -32601, "message": "there is no such method"});
            return Json(json!({"jsonrpc": "2.0", "id": id, "error": error})).into_response();
        }
    };
    Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
}

async fn echo(State(api): State<DataApi>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    // It answers when it has the whole request. Of what the body holds it makes nothing.
    if axum::body::to_bytes(body, usize::MAX).await.is_err() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let judged = api.trust.judge(&head.headers).await;
    let headers: Vec<Value> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let refused = api.require_identity && judged.is_err();
    let body = json!({
        "cluster": api.cluster.as_str(),
        "method": head.method.as_str(),
        "path": head.uri.to_string(),
        "headers": headers,
        "identity": judged.as_ref().ok(),
        "identity_error": judged.as_ref().err(),
    });
    let status = if refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    (status, Json(body)).into_response()
}

/// The headers that a sample Data API says it got, in order.
#[must_use]
pub fn headers_seen(response: &crate::http::Response) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let body = response.json();
    body["headers"].as_array().into_iter().flatten().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}
