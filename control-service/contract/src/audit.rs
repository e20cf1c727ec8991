//! Queries of the audit log, and which proxy has which revision.

use portcullis_control_domain::audit::{AuditRow, RecordQuery};
use portcullis_control_domain::rollout::WorkerReport;
use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::AuditRecord;
use serde::{Deserialize, Serialize};

use crate::{Invalid, limit};
pub use portcullis_control_domain::audit::AuditStatus;

/// Which records are asked for; a field that is absent does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordFilter {
    /// Request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// `allow`, `refuse` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Reason code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The root id that recorded it, `sidecar` or `control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
    /// Records after this index.
    pub after: u64,
    /// Entries at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl RecordFilter {
    /// The query.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<RecordQuery, Invalid> {
        Ok(RecordQuery {
            limit: limit(self.limit)?,
            request_id: self.request_id,
            subject: self.subject,
            cluster: self.cluster,
            tenant: self.tenant,
            decision: self.decision,
            reason: self.reason,
            hop: self.hop,
            after: self.after,
        })
    }
}

/// A record as JSON; the members are those of [`AuditRecord`], and who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordReport {
    /// Its position in the log.
    pub index: u64,
    /// The stream that it came in, hexadecimal.
    pub stream: String,
    /// Its number there.
    pub sequence: u64,
    /// When the request came, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Node id of the proxy.
    pub proxy: String,
    /// Request id.
    pub request_id: String,
    /// Trace id.
    pub trace_id: String,
    /// `allow`, `refuse` or `none`.
    pub decision: String,
    /// The stage that decided.
    pub stage: String,
    /// Reason code.
    pub reason: String,
    /// HTTP status.
    pub status: u32,
    /// Envoy's response flags.
    pub response_flags: u64,
    /// How long the request took, microseconds.
    pub duration_us: u64,
    /// Who.
    pub subject: String,
    /// Of which tenant.
    pub tenant: String,
    /// What kind of caller.
    pub source_type: String,
    /// By which kind of credential.
    pub credential: String,
    /// Who issued it.
    pub issuer: String,
    /// Its public id.
    pub key_id: String,
    /// Who acted for the subject, the current actor first.
    pub actors: Vec<String>,
    /// Which cluster.
    pub cluster: String,
    /// HTTP method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Address of the caller.
    pub client_address: String,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the response.
    pub response_bytes: u64,
    /// `enforce` or `dry-run`.
    pub mode: String,
    /// The root id that recorded it, `sidecar` or `control`.
    pub hop: String,
    /// Who sent the record; empty for the service itself.
    pub principal: String,
    /// Roles and scopes that were left out.
    pub omitted: u32,
    /// Method of the Model Context Protocol.
    pub mcp_method: String,
    /// Tool, prompt or resource.
    pub mcp_name: String,
    /// The claim at fault.
    pub claim: String,
    /// RFC 9162 leaf hash, hexadecimal.
    pub leaf_hash: String,
}

impl From<AuditRow> for RecordReport {
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

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordList {
    /// The records, in the order of the log.
    pub records: Vec<RecordReport>,
    /// Where to go on.
    pub next: Option<u64>,
}

/// All workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyList {
    /// The newest revision.
    pub revision: u64,
    /// The workers, by proxy.
    pub workers: Vec<WorkerReport>,
}
