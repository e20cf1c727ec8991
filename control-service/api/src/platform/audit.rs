//! Queries of the audit log, and which proxy has which revision.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use portcullis_control_contract::Invalid;
use portcullis_control_contract::audit::{
    AuditStatus, ErasureReport, ErasureRequest, ProofReport, ProxyList, RecordFilter, RecordList,
    RecordReport,
};
use portcullis_control_contract::calls::Call;
use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::{AuditEvent, AuditRow};
use portcullis_control_domain::caller::{Caller, Reach};
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
    let reach = caller.role.reach();
    let (all, cursor, sees_all) = (filter.takes_all(&reach), filter.cursor.clone(), reach == Reach::Platform);
    let mut query = filter.check(reach.clone()).map_err(Problem::parameter)?;
    if let Some(cursor) = cursor {
        let place = store.audit_place(&reach, &cursor).ok_or_else(|| {
            Problem::parameter(Invalid("cursor: is none that a page of yours gave; begin without it"))
        })?;
        query = query.going_on_at(place);
    }
    // Before the log is read, which then has every change up to here.
    let (generation, revision, read_at_ms) =
        (hex(&store.hub().generation()), store.hub().revision(), now_ms());
    let newest_index = if all { Some(store.newest_record().await?) } else { None };
    let (rows, next) = store.records(query).await?;
    let cursor = next.map(|place| store.audit_cursor(&reach, place)).transpose()?;
    let report = |row: AuditRow| match sees_all {
        true => Ok(row.into()),
        false => {
            let reference = store.audit_cursor(&reach, row.index)?;
            Ok(RecordReport::from(row).within_bounds(reference))
        }
    };
    let records = rows.into_iter().map(report).collect::<Result<_, StoreError>>()?;
    let (next, revision) = if sees_all { (next, revision) } else { (None, 0) };
    Ok(Json(RecordList { records, next, cursor, generation, revision, read_at_ms, newest_index }))
}

async fn status(State(store): State<Store>) -> Result<Json<AuditStatus>, Problem> {
    Ok(Json(store.audit_status().await?))
}

async fn entry(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Segment(index): Segment<String>,
) -> Result<Json<ProofReport>, Problem> {
    let reach = caller.role.reach();
    let place = match reach {
        Reach::Platform => index.parse().ok(),
        _ => store.audit_place(&reach, &index),
    };
    let place = place.ok_or(StoreError::from(Refused::EntryUnknown))?;
    Ok(Json(store.log_proof(reach, place).await?.into()))
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
