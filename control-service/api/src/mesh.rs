//! The mesh API: what filters ask and deliver: snapshot polls, opaque tokens, missing keys, audit batches.
//!
//! A filter proves itself twice: by the mutual-TLS identity that the service's own sidecar saw, and by the
//! mesh token, since an application shares its sidecar's identity.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, FromRef, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portcullis_control_config::Principals;
use portcullis_control_domain::audit::Ingested;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::log_throttle::LogThrottle;
use portcullis_control_services::Current;
use portcullis_control_services::introspection::{IntrospectError, Introspected, Providers};
use portcullis_control_services::issuers::{Issuers, RefreshOutcome};
use portcullis_control_services::metrics::Metrics;
use portcullis_control_services::shares::{Kind, Shares};
use portcullis_control_snapshot::{Ask, Poll, PollReport, View, Workers};
use portcullis_control_store::Store;
use portcullis_identity::ids::SpiffeId;
use portcullis_model::fair::ClientNetwork;
use portcullis_protocol::audit::unhex;
use portcullis_protocol::snapshot::{NONCE_LEN, sign_introspection};
use portcullis_protocol::wire::{AuditBatch, IntrospectionAnswer, IntrospectionRequest, KeyRefresh};
use prost::Message;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::extract::{Parameters, bearer, read};
use crate::xfcc::{self, XfccError};
use crate::{MeshState, MeshToken, Problem, ProblemKind, Stopping};

/// Bytes of an audit batch at most, and records in it.
const MAX_BATCH: usize = 4 * 1024 * 1024;
const MAX_RECORDS: usize = 10_000;
/// Bytes of any other message at most, and of a token in it.
const MAX_MESSAGE: usize = 16 * 1024;
const MAX_TOKEN: usize = 8192;
/// `staleAfterSeconds` of a plugin that does not tell it, and the greatest one that there is.
const USUAL_STALE_S: u64 = 300;
const MAX_STALE_S: u64 = 86_400;

const SNAPSHOT: &str = "/mesh/v1/snapshot";

pub(crate) fn routes(state: &MeshState) -> Router<MeshState> {
    Router::new()
        .route(SNAPSHOT, get(snapshot))
        .route("/mesh/v1/introspect", post(introspect).layer(DefaultBodyLimit::max(MAX_MESSAGE)))
        .route("/mesh/v1/keys/refresh", post(refresh_keys).layer(DefaultBodyLimit::max(MAX_MESSAGE)))
        .route("/mesh/v1/audit", post(audit).layer(DefaultBodyLimit::max(MAX_BATCH)))
        .route_layer(middleware::from_fn_with_state(Admission::from_ref(state), within_share))
}

/// What every call has to pass.
#[derive(Clone)]
struct Admission {
    token: MeshToken,
    principals: Arc<Current<Principals>>,
    shares: Arc<Shares>,
}

impl FromRef<MeshState> for Admission {
    fn from_ref(state: &MeshState) -> Self {
        let MeshState { token, principals, shares, .. } = state;
        Self { token: *token, principals: Arc::clone(principals), shares: Arc::clone(shares) }
    }
}

/// Tells handlers who calls, and holds a sidecar to its share: by its principal, since whatever else it says of
/// itself is free text. Gateways get whatever sidecars may not have.
async fn within_share(
    State(admission): State<Admission>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal = admission.authenticate(request.headers())?;
    let kind = if request.uri().path() == SNAPSHOT { Kind::Poll } else { Kind::Call };
    let _share = if admission.principals.get().may_read(&principal, &View::Gateway) {
        None
    } else {
        let taken = || Problem::new(ProblemKind::ShareTaken, "wait until some of them have ended");
        Some(admission.shares.take(&principal, kind).ok_or_else(taken)?)
    };
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

impl Admission {
    /// Who calls; checked before anything else of the request is read.
    fn authenticate(&self, headers: &HeaderMap) -> Result<SpiffeId, Problem> {
        let digest: [u8; 32] = Sha256::digest(bearer(headers).unwrap_or_default().as_bytes()).into();
        if !bool::from(digest.ct_eq(&self.token.0)) {
            return Err(Problem::new(
                ProblemKind::MeshTokenInvalid,
                "send Authorization: Bearer with the token of mesh.tokenFile",
            ));
        }
        let missing = |e: XfccError| Problem::new(ProblemKind::PrincipalMissing, e.to_string());
        let mut values = headers.get_all("x-forwarded-client-cert").iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(missing(XfccError::NotOnce));
        };
        let principal = xfcc::principal(value.as_bytes()).map_err(missing)?;
        if !self.principals.get().knows(&principal) {
            let detail = [principal.as_str(), " is in neither mesh.gateways nor mesh.sidecars"].concat();
            return Err(Problem::new(ProblemKind::PrincipalUnknown, detail));
        }
        Ok(principal)
    }
}

/// Refuses whoever is no gateway.
fn gateway(principals: &Current<Principals>, principal: &SpiffeId) -> Result<(), Problem> {
    if principals.get().may_read(principal, &View::Gateway) {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::ViewForbidden, [principal.as_str(), " is no gateway"].concat()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PollQuery {
    view: String,
    generation: String,
    revision: u64,
    cursor: String,
    nonce: String,
    wait: u64,
    worker: String,
    proxy: String,
    stale: u64,
}

fn malformed(name: &str, problem: &str) -> Problem {
    Problem::new(ProblemKind::PollInvalid, [name, ": ", problem].concat())
}

impl PollQuery {
    /// For how long the worker serves without a poll that comes to an end.
    fn stale_after(&self) -> Duration {
        Duration::from_secs(if self.stale == 0 { USUAL_STALE_S } else { self.stale.min(MAX_STALE_S) })
    }

    fn check(&self) -> Result<Poll, Problem> {
        let view: View = self
            .view
            .parse()
            .map_err(|e: portcullis_control_snapshot::UnknownView| malformed("view", &e.to_string()))?;
        let bytes = |name, text: &str, max: usize| {
            let read = unhex(text).filter(|b| b.len() <= max);
            read.ok_or_else(|| malformed(name, "must be hexadecimal and not longer than a page said"))
        };
        let nonce = bytes("nonce", &self.nonce, NONCE_LEN)?;
        if nonce.len() != NONCE_LEN {
            return Err(malformed("nonce", "must be 16 bytes in hexadecimal"));
        }
        let worker = unhex(&self.worker).is_some_and(|w| (1..=32).contains(&w.len()));
        if !worker || self.proxy.len() > 256 || self.wait > 60 {
            return Err(malformed(
                "worker, proxy, wait",
                "must be up to 32 bytes in hexadecimal, up to 256 characters, up to 60 seconds",
            ));
        }
        let generation = bytes("generation", &self.generation, 16)?;
        let cursor = bytes("cursor", &self.cursor, 1024)?;
        let ask = Ask { view, generation, revision: self.revision, cursor };
        Ok(Poll { ask, nonce, wait: Duration::from_secs(self.wait) })
    }
}

async fn snapshot(
    State(store): State<Store>,
    State(workers): State<Arc<Workers>>,
    State(principals): State<Arc<Current<Principals>>>,
    State(metrics): State<Arc<Metrics>>,
    State(Stopping(stopping)): State<Stopping>,
    Extension(principal): Extension<SpiffeId>,
    Parameters(query): Parameters<PollQuery>,
) -> Result<Response, Problem> {
    let poll = query.check()?;
    if !principals.get().may_read(&principal, &poll.ask.view) {
        let detail = [principal.as_str(), " may not read view ", &query.view].concat();
        return Err(Problem::new(ProblemKind::ViewForbidden, detail));
    }
    let hub = store.hub();
    let known = poll.ask.generation == hub.generation() && poll.ask.cursor.is_empty();
    let acknowledged = known.then_some(poll.ask.revision);
    let report = PollReport { proxy: &query.proxy, acknowledged, stale_after: query.stale_after() };
    let polling = workers.polls(&principal, &query.worker, &poll.ask.view, report);
    let page = hub.poll(poll, stopping, now_ms).await;
    drop(polling);
    metrics.polls.add(1);
    metrics.page_bytes.add(u64::try_from(page.len()).unwrap_or(u64::MAX));
    Ok(protobuf(page))
}

async fn audit(
    State(store): State<Store>,
    State(principals): State<Arc<Current<Principals>>>,
    State(metrics): State<Arc<Metrics>>,
    Extension(principal): Extension<SpiffeId>,
    request: Request,
) -> Result<Response, Problem> {
    let sender = principals.get().sender(&principal);
    let sender = sender.ok_or_else(|| Problem::new(ProblemKind::PrincipalUnknown, principal.as_str()))?;
    let body = read(request, &()).await?;
    let batch =
        AuditBatch::decode(body).map_err(|e| Problem::new(ProblemKind::BatchInvalid, e.to_string()))?;
    if batch.records.len() > MAX_RECORDS {
        return Err(Problem::new(ProblemKind::BatchInvalid, "a batch holds at most 10,000 records"));
    }
    // What the principal may not write is counted and acknowledged: refused, the batch would come again for ever.
    let Ingested { ack, refusals } = store.ingest(sender, batch).await?;
    for (unfit, n) in refusals {
        metrics.audit_refused.add(&[principal.as_str(), unfit.code()], n);
    }
    metrics.audit_stored.add(ack.stored);
    metrics.audit_duplicates.add(ack.duplicates);
    metrics.audit_rejected.add(ack.rejected);
    Ok(protobuf(ack.encode_to_vec()))
}

/// What an introspection needs.
#[derive(Clone)]
struct Introspection {
    store: Store,
    principals: Arc<Current<Principals>>,
    providers: Arc<Current<Providers>>,
    complaints: Arc<LogThrottle>,
    metrics: Arc<Metrics>,
}

impl FromRef<MeshState> for Introspection {
    fn from_ref(state: &MeshState) -> Self {
        Self {
            store: state.store.clone(),
            principals: Arc::clone(&state.principals),
            providers: Arc::clone(&state.providers),
            complaints: Arc::clone(&state.complaints),
            metrics: Arc::clone(&state.metrics),
        }
    }
}

/// What an opaque token stands for. Gateways only: the answer may hold a person's claims.
async fn introspect(
    State(introspection): State<Introspection>,
    Extension(principal): Extension<SpiffeId>,
    request: Request,
) -> Result<Response, Problem> {
    gateway(&introspection.principals, &principal)?;
    let body = read(request, &()).await?;
    // The decoder's error is left out: it might repeat a piece of the token.
    let bad = |detail: &str| Problem::new(ProblemKind::BodyInvalid, detail);
    let ask = IntrospectionRequest::decode(body).map_err(|_| bad("not an IntrospectionRequest"))?;
    let visible =
        (1..=MAX_TOKEN).contains(&ask.token.len()) && ask.token.bytes().all(|b| b.is_ascii_graphic());
    if ask.nonce.len() != NONCE_LEN || !visible {
        return Err(bad("nonce must have 16 bytes, token 1 to 8192 visible ASCII characters"));
    }
    let providers = introspection.providers.get();
    let source = ClientNetwork::from_bytes(&ask.source);
    let outcome = providers.ask(&ask.provider, &ask.token, source).await;
    let (active, claims) = match outcome {
        Ok(Introspected::Active(claims)) => (true, Value::Object(claims).to_string().into_bytes()),
        Ok(Introspected::Inactive) => (false, Vec::new()),
        Err(error) => return Err(introspection.no_answer(&ask.provider, &error)),
    };
    let outcome = if active { "active" } else { "inactive" };
    introspection.metrics.introspections.count(&[&ask.provider, outcome]);
    let answer = IntrospectionAnswer { nonce: ask.nonce, provider: ask.provider, active, claims };
    Ok(protobuf(sign_introspection(&answer, introspection.store.hub().seed())))
}

impl Introspection {
    fn no_answer(&self, provider: &str, error: &IntrospectError) -> Problem {
        // Only names of the configuration become labels: a caller's would grow the metrics without bound.
        let known = if matches!(error, IntrospectError::Unknown) { "" } else { provider };
        self.metrics.introspections.count(&[known, error.outcome()]);
        let is_told = matches!(error, IntrospectError::Provider(_));
        if !is_told && self.complaints.allow(known) {
            tracing::warn!(provider = known, %error, "a token could not be introspected");
        }
        let fault = match error {
            IntrospectError::Unknown => ProblemKind::ProviderUnknown,
            IntrospectError::Busy => ProblemKind::ProviderBusy,
            IntrospectError::Provider(_) => ProblemKind::ProviderFailed,
        };
        Problem::new(fault, error.to_string())
    }
}

/// Fetches an issuer's keys because a gateway met one that it has not. Sidecars take no issuer's tokens.
async fn refresh_keys(
    State(issuers): State<Arc<Issuers>>,
    State(principals): State<Arc<Current<Principals>>>,
    State(metrics): State<Arc<Metrics>>,
    Extension(principal): Extension<SpiffeId>,
    request: Request,
) -> Result<Response, Problem> {
    gateway(&principals, &principal)?;
    let body = read(request, &()).await?;
    let wish = KeyRefresh::decode(body).map_err(|e| Problem::new(ProblemKind::BodyInvalid, e.to_string()))?;
    let asked = issuers.ask(&wish.issuer, &wish.key_id).await;
    let (outcome, answer) = match asked {
        RefreshOutcome::Published => ("published", Ok(StatusCode::NO_CONTENT.into_response())),
        RefreshOutcome::TooSoon => {
            ("too_soon", Err((ProblemKind::RefreshTooSoon, "ask again in a few seconds")))
        }
        RefreshOutcome::Unknown => {
            ("unknown", Err((ProblemKind::IssuerUnknown, "no issuer of this name has keys to fetch")))
        }
        RefreshOutcome::Failed => {
            ("failed", Err((ProblemKind::RefreshFailed, "the last good keys stay in use")))
        }
    };
    metrics.key_refreshes.count(&[outcome]);
    answer.map_err(|(fault, detail)| Problem::new(fault, detail))
}

fn protobuf(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-protobuf"), (header::CACHE_CONTROL, "no-store")], bytes)
        .into_response()
}
