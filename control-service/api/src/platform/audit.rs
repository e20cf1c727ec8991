//! Queries of the audit log, and which proxy has which revision.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_control_contract::audit::{
    AuditStatus, ErasureReport, ErasureRequest, ProofReport, ProxyList, RecordFilter, RecordList,
};
use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_services::rollout::Rollout;
use portcullis_control_store::{Store, StoreError};

use crate::extract::{Body, Parameters};
use crate::{PlatformState, Problem};

pub(super) fn routes() -> Router<PlatformState> {
    Router::new()
        .route("/v1/audit/records", get(records))
        .route("/v1/audit/status", get(status))
        .route("/v1/audit/entries/{index}", get(entry))
        .route("/v1/audit/erasures", post(erase))
        .route("/v1/proxies", get(proxies))
}

async fn records(
    State(store): State<Store>,
    Parameters(filter): Parameters<RecordFilter>,
) -> Result<Json<RecordList>, Problem> {
    let (rows, next) = store.records(filter.check().map_err(Problem::parameter)?).await?;
    Ok(Json(RecordList { records: rows.into_iter().map(Into::into).collect(), next }))
}

async fn status(State(store): State<Store>) -> Result<Json<AuditStatus>, Problem> {
    Ok(Json(store.audit_status().await?))
}

async fn entry(State(store): State<Store>, Path(index): Path<String>) -> Result<Json<ProofReport>, Problem> {
    let index = index.parse().map_err(|_| StoreError::from(Refused::EntryUnknown))?;
    Ok(Json(store.log_proof(index).await?.into()))
}

async fn erase(
    State(store): State<Store>,
    Extension(action): Extension<AuditEvent>,
    Body(body): Body<ErasureRequest>,
) -> Result<Json<ErasureReport>, Problem> {
    let subject = body.data_subject().map_err(Problem::body)?;
    Ok(Json(ErasureReport { erased: store.erase_subject(&subject, action).await? }))
}

async fn proxies(
    State(store): State<Store>,
    State(rollout): State<Arc<Rollout>>,
) -> Result<Json<ProxyList>, Problem> {
    let workers = rollout.list().await?;
    Ok(Json(ProxyList { revision: store.hub().revision(), workers }))
}
