//! Queries of the audit log, and which proxy has which revision.

use portcullis_control_domain::audit::{
    AuditRow, DataSubject, DecisionName, Erased, Hop, LogEntry, LogProof, Order, RecordQuery, RecordedCaller,
};
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::rollout::WorkerReport;
use portcullis_protocol::audit::hex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Invalid, day, limit};
pub use portcullis_control_domain::audit::AuditStatus;

/// Which records are asked for; a field that is absent does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionName>,
    /// Reason code. Filters may have newer ones than this service knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_]{0,63}$"))]
    pub reason: Option<String>,
    /// Where it was recorded: by the root id of a gateway's filter, at a `sidecar`, or by `control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<Hop>,
    /// In which order: `oldest` or `newest` first.
    pub order: Order,
    /// Records after this index.
    pub after: u64,
    /// Records before this index: `next` of the page before, where the newest come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Where to go on: `cursor` of the page before, with the same order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Entries at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

impl RecordFilter {
    /// Whether it leaves out nothing after its index of what somebody of this reach may see, who may see all.
    #[must_use]
    pub fn takes_all(&self, reach: &Reach) -> bool {
        let Self { after, limit, .. } = *self;
        *reach == Reach::Platform && *self == Self { after, limit, ..Self::default() }
    }

    /// The query of somebody of this reach, but for the cursor.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self, reach: Reach) -> Result<RecordQuery, Invalid> {
        if self.reason.as_deref().is_some_and(|reason| !is_code(reason)) {
            return Err(Invalid(
                "reason: write a code such as key_unknown: small letters, digits and _, up to 64 characters",
            ));
        }
        let by_index = self.after > 0 || self.before.is_some();
        if by_index && reach != Reach::Platform {
            return Err(Invalid("after, before: are of the whole log, of which you see a part; give cursor"));
        }
        if by_index && self.cursor.is_some() {
            return Err(Invalid("cursor: goes on from the page before; leave after and before out"));
        }
        Ok(RecordQuery {
            reach,
            limit: limit(self.limit)?,
            request_id: self.request_id,
            subject: self.subject,
            cluster: self.cluster,
            tenant: self.tenant,
            decision: self.decision,
            reason: self.reason,
            hop: self.hop,
            order: self.order,
            after: self.after,
            before: self.before,
        })
    }
}

/// Whether a text has the form of a reason.
fn is_code(text: &str) -> bool {
    let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(sound)
}

/// A record as JSON; the members are those of [`portcullis_protocol::wire::AuditRecord`], and who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordReport {
    /// Its position in the log; null for who sees a part of the log, since it tells how many others there are.
    pub index: Option<u64>,
    /// What to ask for its entry by, in place of the index where that is null.
    #[serde(default)]
    pub reference: Option<String>,
    /// The stream that it came in, hexadecimal; null as the index is.
    pub stream: Option<String>,
    /// Its number there; null as the index is.
    pub sequence: Option<u64>,
    /// When the request came, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Node id of the proxy.
    pub proxy: String,
    /// Request id.
    pub request_id: String,
    /// Trace id.
    pub trace_id: String,
    /// `allow`, `refuse`, `exempt`, `platform`, `none`, `open` or `end`.
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
    /// Who called, of what the service itself records: `subject` is a text, and this says what it stands for.
    #[serde(default)]
    pub caller: Option<RecordedCaller>,
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
    /// Of a call of the platform API: the role by which it was made.
    #[serde(default)]
    pub role: String,
    /// When the service received it, milliseconds since the Unix epoch; null before `committed_from`.
    pub received_ms: Option<u64>,
    /// What was erased of it: `subject`, all that tells of a person, or the `record`.
    pub erased: Option<Erased>,
    /// The log's entry, hexadecimal; null before `committed_from`.
    pub entry: Option<String>,
    /// RFC 9162 leaf hash of the entry, hexadecimal; before `committed_from` that of the record as it came.
    pub leaf_hash: String,
}

impl From<AuditRow> for RecordReport {
    fn from(row: AuditRow) -> Self {
        let AuditRow { index, entry, leaf, erased, principal, record } = row;
        let caller = RecordedCaller::of(&record).filter(|_| erased.is_none());
        Self {
            index: Some(index),
            reference: None,
            stream: Some(hex(&record.stream)),
            sequence: Some(record.sequence),
            caller,
            time_ms: record.time_ms,
            proxy: record.proxy,
            request_id: record.request_id,
            trace_id: record.trace_id,
            decision: record.decision,
            stage: record.stage,
            reason: record.reason,
            status: record.status,
            response_flags: record.response_flags,
            duration_us: record.duration_us,
            subject: record.subject,
            tenant: record.tenant,
            source_type: record.source_type,
            credential: record.credential,
            issuer: record.issuer,
            key_id: record.key_id,
            actors: record.actors,
            cluster: record.cluster,
            method: record.method,
            path: record.path,
            client_address: record.client_address,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            mode: record.mode,
            hop: record.hop,
            principal,
            omitted: record.omitted,
            mcp_method: record.mcp_method,
            mcp_name: record.mcp_name,
            claim: record.claim,
            role: record.role,
            received_ms: entry.as_deref().and_then(LogEntry::decode).map(|entry| entry.received_ms),
            erased,
            entry: entry.as_deref().map(hex),
            leaf_hash: hex(&leaf),
        }
    }
}

impl RecordReport {
    /// For somebody who sees a part of the log: without all that tells how many other records there are.
    #[must_use]
    pub fn within_bounds(self, reference: String) -> Self {
        Self { index: None, stream: None, sequence: None, entry: None, reference: Some(reference), ..self }
    }
}

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordList {
    /// The records, in the order that was asked for.
    pub records: Vec<RecordReport>,
    /// Where to go on: as `after`, or as `before` where the newest come first; null for who sees a part of the log.
    pub next: Option<u64>,
    /// Where to go on: as `cursor`, whoever asks.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Name of the store's life, hexadecimal.
    #[serde(default)]
    pub generation: String,
    /// The newest revision of the snapshot when the log was read: every change up to it is in the log. 0 for who sees a
    /// part of the log.
    #[serde(default)]
    pub revision: u64,
    /// When it was read, milliseconds since the Unix epoch.
    #[serde(default)]
    pub read_at_ms: u64,
    /// The newest index of the whole log; null where the page leaves records out, by a filter or because the caller may
    /// not see them.
    #[serde(default)]
    pub newest_index: Option<u64>,
}

/// What it takes to verify the record at an index of the log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofReport {
    /// Its position in the log.
    pub index: u64,
    /// The log's entry, hexadecimal; null before `committed_from`.
    pub entry: Option<String>,
    /// RFC 9162 leaf hash of the entry, hexadecimal; before `committed_from` that of the record as it came.
    pub leaf_hash: String,
    /// The salt of the commitment, hexadecimal; null of a record that was erased.
    pub salt: Option<String>,
    /// The body that is committed to, hexadecimal; null of a record that was erased.
    pub body: Option<String>,
    /// The key of what is encrypted in the body, hexadecimal; null where nothing is, and of an erased data subject.
    pub record_key: Option<String>,
}

impl From<LogProof> for ProofReport {
    fn from(proof: LogProof) -> Self {
        let (salt, body) = proof.content.map(|(salt, body)| (hex(&salt), hex(&body))).unzip();
        Self {
            index: proof.index,
            entry: proof.entry.as_deref().map(hex),
            leaf_hash: hex(&proof.leaf),
            salt,
            body,
            record_key: proof.record_key.map(|key| hex(&*key)),
        }
    }
}

/// Whose records are erased: somebody whom records name, or all who did not say who they are, on one day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ErasureRequest {
    /// Tenant, as records show it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// Issuer, as records show it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// Subject, as records show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The day on which unverified callers came, UTC: `2026-11-28`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_on: Option<String>,
}

impl ErasureRequest {
    /// Who it is.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn data_subject(&self) -> Result<DataSubject<'_>, Invalid> {
        let Self { tenant, issuer, subject, unverified_on } = self;
        match (subject.as_deref(), unverified_on.as_deref().map(day)) {
            (Some(subject), None) if !subject.is_empty() => {
                Ok(DataSubject::Known { tenant, issuer, subject })
            }
            (None, Some(Some(day))) if tenant.is_empty() && issuer.is_empty() => {
                Ok(DataSubject::Unverified { day })
            }
            _ => Err(Invalid(
                "write either tenant, issuer and subject as records show them, or unverified_on alone: a day such as 2026-11-28",
            )),
        }
    }
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErasureReport {
    /// The keyed hash under which the key was kept; the record of this call has it in its path.
    pub erased: String,
}

/// All workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProxyList {
    /// The newest revision.
    pub revision: u64,
    /// The workers, by proxy.
    pub workers: Vec<WorkerReport>,
}

#[cfg(test)]
mod tests {
    use portcullis_protocol::wire::AuditRecord;

    use super::*;

    #[test]
    fn only_the_platform_takes_all_and_only_without_a_filter() {
        let read = |text| serde_json::from_str::<RecordFilter>(text).unwrap();
        let all = read(r#"{"after": 7, "limit": 9}"#);
        assert!(all.takes_all(&Reach::Platform));
        assert!(!all.takes_all(&Reach::Nothing));
        assert!(!all.takes_all(&Reach::Tenant("acme".parse().unwrap())));
        for filter in
            [r#"{"subject": "x"}"#, r#"{"hop": "control"}"#, r#"{"order": "newest"}"#, r#"{"before": 9}"#]
        {
            assert!(!read(filter).takes_all(&Reach::Platform), "{filter}");
        }
    }

    #[test]
    fn an_erasure_says_plainly_whom_it_is_about() {
        let read = |text| serde_json::from_str::<ErasureRequest>(text).unwrap();
        let zoe = read(r#"{"tenant": "acme", "subject": "zoe"}"#);
        let wanted = DataSubject::Known { tenant: "acme", issuer: "", subject: "zoe" };
        assert_eq!(zoe.data_subject(), Ok(wanted));
        let day = read(r#"{"unverified_on": "1970-01-31"}"#);
        assert_eq!(day.data_subject(), Ok(DataSubject::Unverified { day: 30 }));
        for wrong in [
            "{}",
            r#"{"tenant": "acme"}"#,
            r#"{"subject": ""}"#,
            r#"{"subject": "zoe", "unverified_on": "1970-01-31"}"#,
            r#"{"tenant": "acme", "unverified_on": "1970-01-31"}"#,
            r#"{"unverified_on": "1970-02-31"}"#,
            r#"{"unverified_on": "1969-12-31"}"#,
            r#"{"unverified_on": "today"}"#,
        ] {
            assert!(read(wrong).data_subject().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<ErasureRequest>(r#"{"user": "zoe"}"#).is_err());
    }

    /// The members of a record; one that is not named here does not compile.
    macro_rules! members {
        ($($name:ident)*) => {{
            let AuditRecord { $($name: _,)* } = AuditRecord::default();
            [$(stringify!($name)),*]
        }};
    }

    #[test]
    fn a_report_tells_everything_that_a_record_says() {
        let record = AuditRecord::default();
        let row =
            AuditRow { index: 1, entry: None, leaf: [1; 32], erased: None, principal: String::new(), record };
        let told = serde_json::to_value(RecordReport::from(row)).unwrap();
        let members = members!(
            stream sequence time_ms proxy request_id trace_id decision stage reason status response_flags duration_us
            subject tenant source_type credential issuer key_id actors cluster method path client_address request_bytes
            response_bytes mode hop omitted mcp_method mcp_name claim role
        );
        for member in members {
            assert!(told.get(member).is_some(), "{member}");
        }
    }
}
