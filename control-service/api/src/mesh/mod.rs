//! The mesh API: what filters ask and deliver: snapshot polls, opaque tokens, missing keys, audit batches.
//!
//! A filter proves itself twice: by the mutual-TLS identity that the service's own sidecar saw, and by the
//! mesh token, since an application shares its sidecar's identity.

mod admission;
mod introspection;
mod snapshot;
mod trust;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, FromRef, Request, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use portcullis_control_config::Principals;
use portcullis_control_contract::agents::TUNNEL_TRUST;
use portcullis_control_domain::audit::Ingested;
use portcullis_control_services::Current;
use portcullis_control_services::issuers::{Issuers, RefreshOutcome};
use portcullis_control_services::metrics::Metrics;
use portcullis_control_store::Store;
use portcullis_identity::ids::SpiffeId;
use portcullis_protocol::wire::{AuditBatch, KeyRefresh};
use prost::Message;

use crate::extract::{protobuf, read};
use crate::timed::{Timed, timed};
use crate::{MeshState, Problem, ProblemKind};
use admission::{Admission, gateway, within_share};
use introspection::introspect;
use snapshot::snapshot;

/// Bytes of an audit batch at most, and records in it.
const MAX_BATCH: usize = 4 * 1024 * 1024;
const MAX_RECORDS: usize = 10_000;
/// Bytes of any other message at most.
const MAX_MESSAGE: usize = 16 * 1024;
pub(crate) fn routes(state: &MeshState) -> Router<MeshState> {
    let within = middleware::from_fn_with_state(Admission::from_ref(state), within_share);
    let calls: [(&str, &str, MethodRouter<MeshState>, usize); 5] = [
        ("PollSnapshot", snapshot::PATH, get(snapshot), MAX_MESSAGE),
        ("Introspect", "/mesh/v1/introspect", post(introspect), MAX_MESSAGE),
        ("RefreshKeys", "/mesh/v1/keys/refresh", post(refresh_keys), MAX_MESSAGE),
        ("TunnelTrust", TUNNEL_TRUST, get(trust::trust), MAX_MESSAGE),
        ("DeliverAudit", "/mesh/v1/audit", post(audit), MAX_BATCH),
    ];
    calls.into_iter().fold(Router::new(), |router, (call, path, answer, most)| {
        let times = Timed { metrics: Arc::clone(&state.metrics), call };
        let answer = answer.layer(DefaultBodyLimit::max(most)).route_layer(within.clone());
        router.route(path, answer.route_layer(middleware::from_fn_with_state(times, timed)))
    })
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
