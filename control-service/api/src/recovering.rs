//! What is answered while a restored store does not know yet what it lacks: nobody is let through, and nothing is opened.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use portcullis_control_store::Store;

use crate::Problem;

/// Lets only those calls of the platform API through that open nothing, whoever makes them: an administrator may be one
/// whose revocation is among what is missing.
pub(crate) async fn closing_only(
    State(store): State<Store>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if store.recovery().is_some() && !closes(request.method(), request.uri().path()) {
        store.check_fresh()?;
    }
    Ok(next.run(request).await)
}

/// Whether a call closes something, or tells what is public.
fn closes(method: &Method, path: &str) -> bool {
    let parts: Vec<_> = path.split('/').skip(1).collect();
    matches!(
        (method.as_str(), parts.as_slice()),
        ("DELETE", ["v1", "clusters" | "api-keys" | "service-clients" | "administrators", _])
            | ("POST", ["v1", "clusters", _, "suspend"] | ["v1", "revocations"])
            | (
                "GET" | "HEAD",
                ["v1", "identity", "jwks"] | ["oauth2", "jwks"] | [".well-known", ..] | ["openapi.json"]
            )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_or_reads_waits() {
        for (method, path, wanted) in [
            (Method::POST, "/v1/clusters/acme/suspend", true),
            (Method::DELETE, "/v1/clusters/acme", true),
            (Method::POST, "/v1/revocations", true),
            (Method::DELETE, "/v1/api-keys/0f", true),
            (Method::GET, "/oauth2/jwks", true),
            (Method::POST, "/v1/clusters/acme/resume", false),
            (Method::DELETE, "/v1/revocations", false),
            (Method::POST, "/v1/clusters", false),
            (Method::POST, "/v1/api-keys/0f/rotate", false),
            (Method::POST, "/oauth2/token", false),
            (Method::GET, "/v1/audit/records", false),
            (Method::POST, "/v1/administrators", false),
        ] {
            assert_eq!(closes(&method, path), wanted, "{method} {path}");
        }
    }
}
