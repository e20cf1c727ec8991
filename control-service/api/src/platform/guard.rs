//! Who may make which call, and that every call that does something is audited.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, FromRef, Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use portcullis_control_contract::calls::{Access, Call, Effect};
use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};
use portcullis_control_domain::caller::{Caller, Permission};
use portcullis_control_domain::pause::PauseName;
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_services::metrics::Metrics;
use portcullis_control_services::people::{NobodyKnown, People};
use portcullis_control_store::{Store, StoreError};
use zeroize::Zeroizing;

use super::described::only_what_is_described;
use crate::PlatformState;
use crate::extract::{bearer, request_id};
use crate::openapi::Takes;
use crate::problem::{Problem, ProblemKind, ReasonOf};
use crate::recovering::{Taken, nobodys, refused, taken};
use crate::refusal::refuse;
use crate::timed::{Timed, timed};

/// Characters of a path in an audit record at most: those of refused calls are anybody's.
const MAX_PATH: usize = 1024;

/// Routes of the platform API. They are made of calls alone, so there is none that the table does not have.
pub(super) struct Routes {
    router: Router<PlatformState>,
    guard: Guard,
}

impl Routes {
    pub(super) fn new(state: &PlatformState) -> Self {
        Self { router: Router::new(), guard: Guard::from_ref(state) }
    }

    /// Answers a call by a handler, behind the check that the table asks for.
    pub(super) fn on<T: 'static>(mut self, call: Call, handler: impl Handler<T, PlatformState>) -> Self {
        let filter = match call.method() {
            "GET" => MethodFilter::GET,
            "POST" => MethodFilter::POST,
            _ => MethodFilter::DELETE,
        };
        let mut route: MethodRouter<PlatformState> = on(filter, handler);
        if matches!(call.access(), Access::Needs(_) | Access::Cluster) {
            route =
                route.route_layer(middleware::from_fn_with_state(Takes::of(call), only_what_is_described));
        }
        if let Access::Needs(permission) = call.access() {
            let check = (self.guard.clone(), call, permission);
            route = route.route_layer(middleware::from_fn_with_state(check, guarded));
        } else if taken(call) == Taken::Nobodys {
            let store = self.guard.store.clone();
            route = route.route_layer(middleware::from_fn_with_state(store, nobodys));
        }
        let times = Timed { metrics: Arc::clone(&self.guard.metrics), call: call.name() };
        route = route.route_layer(middleware::from_fn_with_state(times, timed));
        self.router = self.router.route(call.path(), route);
        self
    }

    pub(super) fn into_router(self) -> Router<PlatformState> {
        self.router
    }
}

/// What the check of a caller needs.
#[derive(Clone)]
struct Guard {
    store: Store,
    metrics: Arc<Metrics>,
    people: Arc<People>,
}

impl FromRef<PlatformState> for Guard {
    fn from_ref(state: &PlatformState) -> Self {
        let PlatformState { store, metrics, people, .. } = state;
        Self { store: store.clone(), metrics: Arc::clone(metrics), people: Arc::clone(people) }
    }
}

/// Checks who calls and whether their role may do this, tells handlers, and audits what no handler has: refusals and
/// reads of the audit log. A change is audited in the transaction that makes it.
async fn guarded(
    State((guard, call, permission)): State<(Guard, Call, Permission)>,
    mut request: Request,
    next: Next,
) -> Response {
    let action = action(&request);
    let token = bearer(request.headers()).map(str::to_owned).map(Zeroizing::new);
    let from = PauseName::platform_caller(&action.client_address);
    let caller = match guard.authenticate(token.as_deref().map(String::as_str), from).await {
        Ok(caller) => caller,
        Err(Unknown { problem, whose }) => {
            return guard.refuse(from, AuditEvent { by: whose, ..action }, problem).await.into_response();
        }
    };
    let action = action.by(&caller);
    let reads = call.effect().reads();
    let response = if let Some(problem) = refused(&guard.store, call, &caller) {
        problem.into_response()
    } else if !caller.role.may(permission) {
        denied(&caller, permission).into_response()
    } else if !reads && request.uri().path().contains('%') {
        // The audit log has the path as it came, and a restore does again what it tells.
        let told = "write the path of a change without percent-encoding: no id has a character that needs it";
        Problem::new(ProblemKind::ParameterInvalid, told).into_response()
    } else {
        request.extensions_mut().insert(action.clone());
        request.extensions_mut().insert(caller);
        next.run(request).await
    };
    let status = response.status().as_u16();
    if call.effect() == Effect::ReadsAudit || status == 403 || (!reads && status >= 400) {
        let reason = response.extensions().get::<ReasonOf>().map_or("", |r| r.0);
        if let Err(error) = guard.store.record(action, status, reason).await {
            // An answer that cannot be audited is not given.
            return Problem::from(error).into_response();
        }
    }
    response
}

fn denied(caller: &Caller, permission: Permission) -> Problem {
    let (needed, role) = (permission.as_str(), caller.role.name().as_str());
    let bound = if caller.role.name().may(permission) { ", bound to a tenant," } else { "" };
    Problem::new(
        ProblemKind::PermissionDenied,
        ["this call needs the permission ", needed, ", which the role ", role, bound, " does not have"]
            .concat(),
    )
}

/// What is audited of a call, but for who makes it.
pub(super) fn action(request: &Request) -> AuditEvent {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    AuditEvent {
        method: request.method().to_string(),
        path: request.uri().path().chars().take(MAX_PATH).collect(),
        request_id: request_id(request.headers()),
        client_address: peer.map(|p| p.0.ip().to_string()).unwrap_or_default(),
        ..AuditEvent::default()
    }
}

/// Why nobody is known to call.
struct Unknown {
    problem: Problem,
    /// What is recorded of it: who was verified, or who says so.
    whose: RecordedCaller,
}

/// Somebody whose token is verified, as far as that goes.
fn person(subject: String, issuer: String) -> RecordedCaller {
    RecordedCaller::Person { issuer, subject, key_id: String::new() }
}

impl From<StoreError> for Unknown {
    fn from(error: StoreError) -> Self {
        Self { problem: error.into(), whose: RecordedCaller::Nobody }
    }
}

impl From<NobodyKnown> for Unknown {
    fn from(nobody: NobodyKnown) -> Self {
        let told = nobody.to_string();
        let refused = |told: &str| Problem::new(ProblemKind::TokenInvalid, told);
        let (problem, whose) = match nobody {
            NobodyKnown::None => (refused("this is no token of the platform API"), RecordedCaller::Nobody),
            NobodyKnown::Refused(why) => {
                let name = |text: Option<String>| text.unwrap_or_default();
                let whose = why.whose.map(|whose| *whose);
                let (subject, issuer) = whose.map(|whose| (whose.subject, whose.issuer)).unzip();
                let subject = name(subject.flatten().map(Into::into));
                (refused(&told), person(subject, name(issuer.flatten().map(Into::into))))
            }
            NobodyKnown::NoRole { subject, issuer } => {
                (Problem::new(ProblemKind::PermissionDenied, told), person(subject, issuer))
            }
            NobodyKnown::Busy => (Problem::new(ProblemKind::CallersBusy, told), RecordedCaller::Nobody),
            NobodyKnown::Store(error) => (error.into(), RecordedCaller::Nobody),
            NobodyKnown::Failed(_) => {
                tracing::error!(error = told, "a person's token cannot be judged");
                let problem =
                    Problem::new(ProblemKind::StoreUnavailable, "try again; the service's log says more");
                (problem, RecordedCaller::Nobody)
            }
        };
        Self { problem, whose }
    }
}

impl Guard {
    /// Who calls, by a token of this service or by one of an identity provider.
    async fn authenticate(&self, token: Option<&str>, from: PauseName) -> Result<Caller, Unknown> {
        let Some(text) = token else {
            let told = "send Authorization: Bearer with a token that `portcullis bootstrap-admin` or `admins create` \
                        printed, or with one of an identity provider that platformCallers names";
            let problem = Problem::new(ProblemKind::TokenMissing, told);
            return Err(Unknown { problem, whose: RecordedCaller::Nobody });
        };
        // A secret of this service is none of an identity provider's, and is shown to no code that reads those.
        let Some(token) = Token::parse(TokenKind::Administrator, text) else {
            return Ok(self.people.caller(text, from).await?);
        };
        let refused = |told: &str| Unknown {
            problem: Problem::new(ProblemKind::TokenInvalid, told),
            whose: RecordedCaller::Token { id: token.id().to_owned() },
        };
        let caller = self.store.caller(&token).await?;
        let caller = caller.ok_or_else(|| refused("this is no token of the platform API"))?;
        match &caller.voucher {
            Some(voucher) if !self.people.vouches(voucher, &caller.role) => Err(refused(
                "platformCallers gives the person who made this token no role any more by which they could make it",
            )),
            _ => Ok(caller),
        }
    }

    /// Refuses a call without a token that is good.
    async fn refuse(&self, from: PauseName, action: AuditEvent, problem: Problem) -> Problem {
        let kind = problem.kind();
        if !matches!(
            kind,
            ProblemKind::TokenMissing | ProblemKind::TokenInvalid | ProblemKind::PermissionDenied
        ) {
            return problem;
        }
        let record = action.record(kind.status(), kind.code());
        refuse(&self.store, &self.metrics.refused_callers, from, record, problem).await
    }
}
