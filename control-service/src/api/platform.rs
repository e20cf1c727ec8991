//! The platform API: who may call it, and that every call that does something is audited.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use portcullis_core::audit::hex;

use super::extract::bearer;
use super::problem::{Fault, Problem, ReasonOf};
use super::{Service, audit, clients, clusters, issuers, keys, oauth};
use crate::store::Action;
use crate::tokens::{Token, TokenKind, random};

/// Bytes of a body at most.
const MAX_BODY: usize = 64 * 1024;

pub(super) fn routes(service: &Arc<Service>) -> Router<Arc<Service>> {
    let administrators = middleware::from_fn_with_state(Arc::clone(service), administrators_only);
    clusters::routes()
        .merge(keys::routes())
        .merge(clients::routes())
        .merge(issuers::routes())
        .merge(audit::routes())
        .route_layer(administrators)
        .merge(clusters::heartbeat_routes())
        .merge(issuers::public_routes())
        .merge(oauth::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Checks the administrator's token, tells handlers who calls, and audits what no handler has: refusals
/// and reads of the audit log. A change is audited in the transaction that makes it.
async fn administrators_only(
    State(service): State<Arc<Service>>,
    mut request: Request,
    next: Next,
) -> Response {
    let authenticated = match presented(&request) {
        Ok((token, action)) => authenticate(&service, &token).await.map(|()| action),
        Err(problem) => Err(problem),
    };
    let action = match authenticated {
        Ok(action) => action,
        Err(problem) => return problem.into_response(),
    };
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let reads_audit = reads && request.uri().path().starts_with("/v1/audit/");
    request.extensions_mut().insert(action.clone());
    let response = next.run(request).await;
    let status = response.status();
    if reads_audit || (!reads && status.as_u16() >= 400) {
        let reason = response.extensions().get::<ReasonOf>().map_or("", |r| r.0);
        if let Err(error) = service.store.record(action, status.as_u16(), reason).await {
            // An answer that cannot be audited is not given.
            return Problem::from(error).into_response();
        }
    }
    response
}

/// The token that was presented, and what would be audited of the call.
fn presented(request: &Request) -> Result<(Token, Action), Problem> {
    let text = bearer(request.headers()).ok_or_else(|| {
        Problem::new(
            Fault::TokenMissing,
            "send Authorization: Bearer with the token that `portcullis bootstrap-admin` printed",
        )
    })?;
    let token = Token::parse(TokenKind::Administrator, text).ok_or_else(invalid)?;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let action = Action {
        subject: ["admin:", token.id()].concat(),
        credential: "admin_token",
        key_id: token.id().to_owned(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        request_id: request_id(request.headers()),
        client_address: peer.map(|p| p.0.ip().to_string()).unwrap_or_default(),
    };
    Ok((token, action))
}

fn invalid() -> Problem {
    Problem::new(Fault::TokenInvalid, "this is not the token of an administrator")
}

async fn authenticate(service: &Service, token: &Token) -> Result<(), Problem> {
    service.store.is_administrator(token).await?.then_some(()).ok_or_else(invalid)
}

/// The caller's request id if it is a sound one, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
    let sound = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    given.filter(sound).map_or_else(|| hex(&random::<16>()), str::to_owned)
}
