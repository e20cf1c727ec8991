//! Queries of the audit log, and which proxy has which revision.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use portcullis_control_contract::audit::{
    AuditStatus, ErasureReport, ErasureRequest, ProofReport, ProxyList, RecordFilter, RecordList,
};
use portcullis_control_contract::calls::Call;
use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Caller;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_services::rollout::Rollout;
use portcullis_control_store::{Store, StoreError};
use portcullis_protocol::audit::hex;

use super::guard::Routes;
use crate::Problem;
use crate::extract::{Body, Parameters, Segment};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Call::ListAuditRecords, records)
        .on(Call::GetAuditStatus, status)
        .on(Call::GetAuditEntry, entry)
        .on(Call::EraseDataSubject, erase)
        .on(Call::ListProxies, proxies)
}

async fn records(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Parameters(filter): Parameters<RecordFilter>,
) -> Result<Json<RecordList>, Problem> {
    let (reach, all) = (caller.role.reach(), filter.takes_all(&caller.role.reach()));
    let query = filter.check(reach).map_err(Problem::parameter)?;
    // Before the log is read, which then has every change up to here.
    let (generation, revision, read_at_ms) =
        (hex(&store.hub().generation()), store.hub().revision(), now_ms());
    let newest_index = if all { Some(store.newest_record().await?) } else { None };
    let (rows, next) = store.records(query).await?;
    let records = rows.into_iter().map(Into::into).collect();
    Ok(Json(RecordList { records, next, generation, revision, read_at_ms, newest_index }))
}

async fn status(State(store): State<Store>) -> Result<Json<AuditStatus>, Problem> {
    Ok(Json(store.audit_status().await?))
}

async fn entry(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Segment(index): Segment<String>,
) -> Result<Json<ProofReport>, Problem> {
    let index = index.parse().map_err(|_| StoreError::from(Refused::EntryUnknown))?;
    Ok(Json(store.log_proof(caller.role.reach(), index).await?.into()))
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
