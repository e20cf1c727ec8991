//! Queries of the audit log, and which proxy has which revision.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use portcullis_control_domain::audit::{AuditRow, AuditStatus, RecordQuery};
use portcullis_control_domain::rollout::WorkerReport;
use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::AuditRecord;
use serde::{Deserialize, Serialize};

use super::Service;
use super::extract::{Parameters, limit};
use super::problem::Problem;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/audit/records", get(records))
        .route("/v1/audit/status", get(status))
        .route("/v1/proxies", get(proxies))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    request_id: Option<String>,
    subject: Option<String>,
    tenant: Option<String>,
    cluster: Option<String>,
    decision: Option<String>,
    reason: Option<String>,
    hop: Option<String>,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// A record as JSON; the members are those of [`AuditRecord`], and who sent it.
#[derive(Serialize)]
struct Shown {
    index: u64,
    stream: String,
    sequence: u64,
    time_ms: u64,
    proxy: String,
    request_id: String,
    trace_id: String,
    decision: String,
    stage: String,
    reason: String,
    status: u32,
    response_flags: u64,
    duration_us: u64,
    subject: String,
    tenant: String,
    source_type: String,
    credential: String,
    issuer: String,
    key_id: String,
    actors: Vec<String>,
    cluster: String,
    method: String,
    path: String,
    client_address: String,
    request_bytes: u64,
    response_bytes: u64,
    mode: String,
    hop: String,
    principal: String,
    omitted: u32,
    mcp_method: String,
    mcp_name: String,
    claim: String,
    leaf_hash: String,
}

impl From<AuditRow> for Shown {
    fn from(row: AuditRow) -> Self {
        let AuditRecord { stream, sequence, time_ms, proxy, request_id, trace_id, decision, stage, .. } =
            row.record;
        let AuditRecord { reason, status, response_flags, duration_us, subject, tenant, source_type, .. } =
            row.record;
        let AuditRecord { credential, issuer, key_id, actors, cluster, method, path, client_address, .. } =
            row.record;
        let AuditRecord {
            request_bytes,
            response_bytes,
            mode,
            hop,
            omitted,
            mcp_method,
            mcp_name,
            claim,
            ..
        } = row.record;
        Self {
            index: row.index,
            stream: hex(&stream),
            sequence,
            time_ms,
            proxy,
            request_id,
            trace_id,
            decision,
            stage,
            reason,
            status,
            response_flags,
            duration_us,
            subject,
            tenant,
            source_type,
            credential,
            issuer,
            key_id,
            actors,
            cluster,
            method,
            path,
            client_address,
            request_bytes,
            response_bytes,
            mode,
            hop,
            principal: row.principal,
            omitted,
            mcp_method,
            mcp_name,
            claim,
            leaf_hash: hex(&row.leaf),
        }
    }
}

#[derive(Serialize)]
struct Records {
    records: Vec<Shown>,
    next: Option<u64>,
}

async fn records(
    State(service): State<Arc<Service>>,
    Parameters(filter): Parameters<Filter>,
) -> Result<Json<Records>, Problem> {
    let query = RecordQuery {
        request_id: filter.request_id,
        subject: filter.subject,
        cluster: filter.cluster,
        tenant: filter.tenant,
        decision: filter.decision,
        reason: filter.reason,
        hop: filter.hop,
        after: filter.after,
        limit: limit(filter.limit)?,
    };
    let (rows, next) = service.store.records(query).await?;
    Ok(Json(Records { records: rows.into_iter().map(Into::into).collect(), next }))
}

async fn status(State(service): State<Arc<Service>>) -> Result<Json<AuditStatus>, Problem> {
    Ok(Json(service.store.audit_status().await?))
}

#[derive(Serialize)]
struct Proxies {
    revision: u64,
    workers: Vec<WorkerReport>,
}

async fn proxies(State(service): State<Arc<Service>>) -> Json<Proxies> {
    Json(Proxies { revision: service.store.hub().revision(), workers: service.workers.list() })
}
