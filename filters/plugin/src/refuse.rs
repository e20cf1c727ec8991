//! The answer to a request that is not let through: RFC 9457 problem details, a gRPC status for gRPC, a
//! JSON-RPC error for the Model Context Protocol.

use portcullis_host::{Host, HostResult, LocalResponse};
use portcullis_model::Refusal;

use crate::problem::{Problem, RpcError};

/// The form in which a client understands a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Problem details.
    Problem,
    /// gRPC status.
    Grpc,
    /// JSON-RPC error.
    JsonRpc,
}

/// How a refusal is to be answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// In which form.
    pub form: Form,
    /// The id of the request.
    pub request_id: String,
    /// Where the metadata of the protected resource is.
    pub metadata: Option<String>,
}

impl Answer {
    /// The answer to a request of which nothing is known.
    pub(crate) fn blind() -> Self {
        Self { form: Form::Problem, request_id: String::new(), metadata: None }
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

/// Sends the refusal.
///
/// # Errors
/// When the proxy refuses it; the request must stay paused then.
pub(crate) fn send(host: &dyn Host, refusal: &Refusal, answer: &Answer) -> HostResult<()> {
    let (form, request_id) = (answer.form, answer.request_id.as_str());
    let reason = refusal.reason;
    let problem = Problem::new(reason, request_id);
    let (content_type, body) = match form {
        Form::JsonRpc => (&b"application/json"[..], RpcError::new(&problem).to_json()),
        Form::Problem => (&b"application/problem+json"[..], problem.to_json()),
        Form::Grpc => (&b"application/grpc"[..], reason.title().into()),
    };
    let mut challenge = match reason.bearer_error() {
        Some(error) => format!(
            "Bearer realm=\"portcullis\", error=\"{error}\", error_description=\"{}\"",
            reason.title()
        ),
        None => "Bearer realm=\"portcullis\"".to_owned(),
    };
    if let Some(metadata) = &answer.metadata {
        // RFC 9728 §5.1.
        challenge.push_str(&format!(", resource_metadata=\"{metadata}\""));
    }
    let retry = reason.retry_after().map(|s| s.to_string());
    let mut headers: Vec<(&[u8], &[u8])> = vec![
        (b"content-type", content_type),
        (b"cache-control", b"no-store"),
        (b"x-portcullis-reason", reason.code().as_bytes()),
    ];
    if reason.wants_challenge() {
        headers.push((b"www-authenticate", challenge.as_bytes()));
    }
    if let Some(retry) = &retry {
        headers.push((b"retry-after", retry.as_bytes()));
    }
    if form == Form::Grpc {
        headers.remove(0);
    }
    host.send_local_response(&LocalResponse {
        status: reason.status(),
        details: reason.code(),
        headers: &headers,
        body: &body,
        grpc_status: (form == Form::Grpc).then(|| grpc_status(reason.status())),
    })
}

/// Answers the readiness path.
///
/// # Errors
/// When the proxy refuses it.
pub(crate) fn readiness(host: &dyn Host, ready: bool) -> HostResult<()> {
    let (status, body) = if ready { (200, &b"ready\n"[..]) } else { (503, &b"no snapshot yet\n"[..]) };
    let headers: [(&[u8], &[u8]); 2] = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")];
    let details = if ready { "portcullis_ready" } else { "portcullis_not_ready" };
    host.send_local_response(&LocalResponse { status, details, headers: &headers, body, grpc_status: None })
}
