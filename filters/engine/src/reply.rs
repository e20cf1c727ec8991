//! The answer to a request that is not let through: RFC 9457 problem details, a gRPC status for gRPC, a
//! JSON-RPC error for the Model Context Protocol.

mod problem;

use std::borrow::Cow;

use portcullis_model::{Refusal, Told};

use crate::head::Head;
use crate::head::grpc::Grpc;
use crate::port::{PortResult, Reply, Stream};
use crate::reply::problem::Problem;

/// The header that says why a request was refused.
pub const REASON_HEADER: &str = "x-portcullis-reason";

/// Headers of an answer of ours: names are ours, values may be made for the request.
pub type ReplyHeaders = Vec<(&'static str, Cow<'static, str>)>;

/// A [`Reply`] that owns what it says, so that it can be given after every lock is released.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedReply {
    /// HTTP status.
    pub status: u16,
    /// What the proxy's own access log calls it.
    pub details: &'static str,
    /// Headers.
    pub headers: ReplyHeaders,
    /// Body.
    pub body: Vec<u8>,
    /// `grpc-status`, for a gRPC request.
    pub grpc_status: Option<u32>,
}

impl OwnedReply {
    /// Gives it.
    ///
    /// # Errors
    /// When the proxy refuses it; the request must stay held then.
    pub fn send(&self, stream: &dyn Stream) -> PortResult<()> {
        let headers: Vec<(&[u8], &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        stream.reply(&Reply {
            status: self.status,
            details: self.details,
            headers: &headers,
            body: &self.body,
            grpc_status: self.grpc_status,
        })
    }

    /// The answer of the readiness path.
    #[must_use]
    pub fn readiness(ready: bool) -> Self {
        let (status, details, body) = if ready {
            (200, "portcullis_ready", &b"ready\n"[..])
        } else {
            (503, "portcullis_not_ready", &b"no snapshot yet\n"[..])
        };
        let headers = vec![("content-type", "text/plain".into()), ("cache-control", "no-store".into())];
        Self { status, details, headers, body: body.to_vec(), grpc_status: None }
    }
}

/// The form in which a client understands a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Problem details.
    Problem,
    /// gRPC status, which the proxy writes.
    Grpc,
    /// gRPC status in the body, in this encoding.
    GrpcWeb(Grpc),
    /// JSON-RPC error.
    JsonRpc,
}

impl Form {
    /// The form that fits a request.
    #[must_use]
    pub fn of(head: &Head<'_>) -> Self {
        match (head.grpc, head.mcp) {
            (Grpc::Native, _) => Self::Grpc,
            (web @ (Grpc::Web | Grpc::WebText), _) => Self::GrpcWeb(web),
            (Grpc::No, true) => Self::JsonRpc,
            (Grpc::No, false) => Self::Problem,
        }
    }
}

/// How a refusal is told.
#[derive(Debug, Clone)]
pub struct Manner {
    /// In which form.
    pub form: Form,
    /// The id of the request.
    pub request_id: String,
    /// Where the metadata of the protected resource is.
    pub metadata: Option<String>,
    /// The scopes that any request needs, separated by spaces; empty for none.
    pub scope: String,
}

impl Manner {
    /// To a request of which nothing is known.
    #[must_use]
    pub fn blind() -> Self {
        Self { form: Form::Problem, request_id: String::new(), metadata: None, scope: String::new() }
    }
}

/// The gRPC status for an HTTP status.
fn grpc_status(status: u16) -> u32 {
    match status {
        400 => 3,
        401 => 16,
        403 => 7,
        404 | 410 => 5,
        429 => 8,
        501 => 12,
        _ => 14,
    }
}

/// The challenge of a refusal (RFC 6750 §3, RFC 9728 §5.1).
fn challenge(refusal: &Refusal, manner: &Manner) -> String {
    let reason = refusal.reason;
    let scope = match refusal.told.as_deref() {
        Some(Told::Scope(scope)) => scope,
        _ => &manner.scope,
    };
    let mut challenge = "Bearer realm=\"portcullis\"".to_owned();
    let mut add = |name: &str, value: &str| {
        for part in [", ", name, "=\"", value, "\""] {
            challenge.push_str(part);
        }
    };
    if let Some(error) = reason.bearer_error() {
        add("error", error);
        add("error_description", reason.title());
    }
    if !scope.is_empty() {
        add("scope", scope);
    }
    if let Some(metadata) = &manner.metadata {
        add("resource_metadata", metadata);
    }
    challenge
}

/// The answer that a refusal is told by.
#[must_use]
pub fn refusal(refusal: &Refusal, manner: &Manner) -> OwnedReply {
    let (form, reason) = (manner.form, refusal.reason);
    let problem = Problem::new(reason, &manner.request_id);
    let mut headers = ReplyHeaders::with_capacity(5);
    let body = match form {
        Form::JsonRpc => {
            headers.push(("content-type", "application/json".into()));
            problem.to_rpc_json()
        }
        Form::Problem => {
            headers.push(("content-type", "application/problem+json".into()));
            problem.to_json()
        }
        // The proxy writes a gRPC answer's content type itself.
        Form::Grpc => reason.title().into(),
        Form::GrpcWeb(web) => {
            headers.extend(web.content_type().map(|name| ("content-type", name.into())));
            web.trailers(grpc_status(reason.status()), reason.title())
        }
    };
    headers.push(("cache-control", "no-store".into()));
    headers.push((REASON_HEADER, reason.code().into()));
    if reason.wants_challenge() {
        headers.push(("www-authenticate", challenge(refusal, manner).into()));
    }
    if let Some(seconds) = reason.retry_after() {
        headers.push(("retry-after", seconds.to_string().into()));
    }
    if let Some(Told::Allow(methods)) = refusal.told.as_deref() {
        headers.push(("allow", (*methods).into()));
    }
    OwnedReply {
        // gRPC-Web is HTTP 200 with the status in its trailers.
        status: if matches!(form, Form::GrpcWeb(_)) { 200 } else { reason.status() },
        details: reason.code(),
        headers,
        body,
        grpc_status: (form == Form::Grpc).then(|| grpc_status(reason.status())),
    }
}
