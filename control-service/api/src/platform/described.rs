//! That nothing else is taken than the description of this API says.

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::extract::OptionalBody;
use crate::openapi::Takes;
use crate::{Problem, ProblemKind};

/// The body of a call that takes none.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Refuses parameters and a body where the call has none: whoever sends them believes that they do something.
pub(super) async fn only_what_is_described(
    State(takes): State<Takes>,
    request: Request,
    next: Next,
) -> Response {
    match described(takes, request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn described(takes: Takes, request: Request) -> Result<Request, Problem> {
    let invalid = |what| Problem::new(ProblemKind::ParameterInvalid, what);
    let uri = request.uri();
    if !takes.query && uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(invalid("this call has no parameters; leave them out"));
    }
    // No name has it, and PostgreSQL cannot compare with it.
    if [Some(uri.path()), uri.query()].into_iter().flatten().any(|text| text.contains("%00")) {
        return Err(invalid("a parameter holds the character U+0000; leave it out"));
    }
    if takes.body || matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let OptionalBody(Nothing {}) =
        OptionalBody::from_request(Request::from_parts(head.clone(), body), &()).await?;
    Ok(Request::from_parts(head, Body::empty()))
}
