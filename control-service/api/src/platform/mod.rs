//! The platform API: who may call it, and that every call that does something is audited.

mod admins;
mod audit;
mod clients;
mod clusters;
mod configuration;
mod issuers;
mod keys;
mod oauth;
mod revocations;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRef, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::pause::PauseName;
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_services::metrics::Metrics;
use portcullis_control_store::Store;

use crate::PlatformState;
use crate::extract::{bearer, request_id};
use crate::problem::{Problem, ProblemKind, ReasonOf};

/// Bytes of a body at most.
const MAX_BODY: usize = 64 * 1024;
/// Characters of a path in an audit record at most: those of refused calls are anybody's.
const MAX_PATH: usize = 1024;

pub(crate) fn routes(state: &PlatformState) -> Router<PlatformState> {
    let administrators = middleware::from_fn_with_state(Administrators::from_ref(state), administrators_only);
    clusters::routes()
        .merge(keys::routes())
        .merge(revocations::routes())
        .merge(clients::routes())
        .merge(issuers::routes())
        .merge(audit::routes())
        .merge(admins::routes())
        .merge(configuration::routes())
        .route_layer(administrators)
        .merge(clusters::heartbeat_routes())
        .merge(issuers::public_routes())
        .merge(oauth::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// What the check of an administrator's token needs.
#[derive(Clone)]
struct Administrators {
    store: Store,
    metrics: Arc<Metrics>,
}

impl FromRef<PlatformState> for Administrators {
    fn from_ref(state: &PlatformState) -> Self {
        let PlatformState { store, metrics, .. } = state;
        Self { store: store.clone(), metrics: Arc::clone(metrics) }
    }
}

/// Checks the administrator's token, tells handlers who calls, and audits what no handler has: refusals
/// and reads of the audit log. A change is audited in the transaction that makes it.
async fn administrators_only(
    State(administrators): State<Administrators>,
    mut request: Request,
    next: Next,
) -> Response {
    let token = bearer(request.headers()).map(|text| Token::parse(TokenKind::Administrator, text));
    let action = action(&request, token.as_ref().and_then(|token| token.as_ref()));
    if let Err(problem) = administrators.authenticate(token).await {
        return administrators.refuse(action, problem).await;
    }
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let reads_audit = reads && request.uri().path().starts_with("/v1/audit/");
    request.extensions_mut().insert(action.clone());
    let response = next.run(request).await;
    let status = response.status();
    if reads_audit || (!reads && status.as_u16() >= 400) {
        let reason = response.extensions().get::<ReasonOf>().map_or("", |r| r.0);
        if let Err(error) = administrators.store.record(action, status.as_u16(), reason).await {
            // An answer that cannot be audited is not given.
            return Problem::from(error).into_response();
        }
    }
    response
}

/// What is audited of a call. A name that a token claims for itself is not believed before it is checked, but
/// it is worth a record.
fn action(request: &Request, token: Option<&Token>) -> AuditEvent {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let id = token.map(Token::id).unwrap_or_default();
    AuditEvent {
        subject: if id.is_empty() { String::new() } else { ["admin:", id].concat() },
        credential: "admin_token",
        key_id: id.to_owned(),
        method: request.method().to_string(),
        path: request.uri().path().chars().take(MAX_PATH).collect(),
        request_id: request_id(request.headers()),
        client_address: peer.map(|p| p.0.ip().to_string()).unwrap_or_default(),
    }
}

impl Administrators {
    /// Whether an administrator calls; `token` is none when there is none, and a none within when it is malformed.
    async fn authenticate(&self, token: Option<Option<Token>>) -> Result<(), Problem> {
        let invalid = || Problem::new(ProblemKind::TokenInvalid, "this is not the token of an administrator");
        let token = token.ok_or_else(|| {
            Problem::new(
                ProblemKind::TokenMissing,
                "send Authorization: Bearer with the token that `portcullis bootstrap-admin` printed",
            )
        })?;
        let token = token.ok_or_else(invalid)?;
        self.store.is_administrator(&token).await?.then_some(()).ok_or_else(invalid)
    }

    /// Refuses a call without an administrator's token. Each refusal is audited; when many come from one address
    /// they get slower, so that nobody can fill the audit log. A good token is never slowed down.
    async fn refuse(&self, action: AuditEvent, problem: Problem) -> Response {
        let kind = problem.kind();
        if !matches!(kind, ProblemKind::TokenMissing | ProblemKind::TokenInvalid) {
            return problem.into_response();
        }
        let failures_of = vec![PauseName::platform_caller(&action.client_address)];
        let pause = match self.store.refuse(failures_of, action.record(401, kind.code())).await {
            Ok(pause) => pause,
            // An answer that cannot be audited is not given.
            Err(error) => return Problem::from(error).into_response(),
        };
        let Some(pause) = pause else {
            self.metrics.refused_callers.count(&["audited"]);
            return problem.into_response();
        };
        self.metrics.refused_callers.count(&["paused"]);
        let told = "try again later, with the right token";
        let mut response = Problem::new(ProblemKind::TooManyRefusals, told).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(pause.as_secs() + 1));
        response
    }
}
