//! What can be asked of the audit log.

use portcullis_protocol::wire::AuditRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::names::{DecisionName, Hop};
use crate::caller::Reach;

/// Which records are asked for; empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordQuery {
    /// Only those that whoever asks may know of.
    pub reach: Reach,
    /// Request id.
    pub request_id: Option<String>,
    /// Subject.
    pub subject: Option<String>,
    /// Cluster.
    pub cluster: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// What was decided.
    pub decision: Option<DecisionName>,
    /// Reason code.
    pub reason: Option<String>,
    /// Where it was recorded.
    pub hop: Option<Hop>,
    /// In which order.
    pub order: Order,
    /// Records after this index.
    pub after: u64,
    /// Records before this index.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// In which order records are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they stand in the log.
    #[default]
    Oldest,
    /// The last one first.
    Newest,
}

/// What was erased of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Erased {
    /// What tells of a person: the key of the data subject is gone.
    Subject,
    /// Everything but the log's entry.
    Record,
}

impl RecordQuery {
    /// True when more is asked for than what a database finds by an index: then [`Self::fits`] has to look.
    #[must_use]
    pub fn filters(&self) -> bool {
        let looked_at = [&self.request_id, &self.tenant, &self.reason];
        self.reach != Reach::Platform
            || self.decision.is_some()
            || self.hop.is_some()
            || looked_at.iter().any(|wanted| wanted.is_some())
    }

    /// True when all records are asked for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.filters() && self.subject.is_none() && self.cluster.is_none()
    }

    /// Goes on from a place in the log, in the order that is asked for.
    #[must_use]
    pub fn going_on_at(self, place: u64) -> Self {
        match self.order {
            Order::Oldest => Self { after: place, ..self },
            Order::Newest => Self { before: Some(place), ..self },
        }
    }

    /// Whether a record that was opened is the one of the request that is asked for. Of one that is erased that cannot be
    /// told any more.
    #[must_use]
    pub fn is_of_request(&self, record: &AuditRecord) -> bool {
        self.request_id.as_deref().is_none_or(|wanted| wanted == record.request_id)
    }

    /// Whether a record is one of those asked for, by what is never encrypted.
    #[must_use]
    pub fn fits(&self, record: &AuditRecord) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        self.reach.has_tenant(&record.tenant)
            && same(&self.tenant, &record.tenant)
            && same(&self.cluster, &record.cluster)
            && self.decision.is_none_or(|wanted| wanted.as_str() == record.decision)
            && same(&self.reason, &record.reason)
            && self.hop.is_none_or(|wanted| wanted.as_str() == record.hop)
    }
}

/// A stored record.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    /// Its position in the log, from 1.
    pub index: u64,
    /// What the log holds of it; `None` of a record that an older version stored.
    pub entry: Option<Vec<u8>>,
    /// RFC 9162 leaf hash.
    pub leaf: [u8; 32],
    /// What was erased of it.
    pub erased: Option<Erased>,
    /// Who sent it; empty for the service's own records and for those of older versions.
    pub principal: String,
    /// The record.
    pub record: AuditRecord,
}

/// What it takes to verify a record.
#[derive(Clone, PartialEq)]
pub struct LogProof {
    /// Its position in the log, from 1.
    pub index: u64,
    /// What the log holds of it; `None` of a record that an older version stored.
    pub entry: Option<Vec<u8>>,
    /// RFC 9162 leaf hash.
    pub leaf: [u8; 32],
    /// Salt and body that the entry commits to, unless they were deleted.
    pub content: Option<([u8; 32], Vec<u8>)>,
    /// The key of what is encrypted in the body, and of nothing else.
    pub record_key: Option<Zeroizing<[u8; 32]>>,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamStatus {
    /// Its id, hexadecimal.
    pub stream: String,
    /// Node id of the proxy.
    pub proxy: String,
    /// The root id that recorded first.
    pub hop: String,
    /// To whom it belongs; empty for the service's own.
    pub principal: String,
    /// `gateway`, `sidecar`, `control`, or `unknown` for a stream that an older version began.
    pub kind: String,
    /// Records stored.
    pub stored: u64,
    /// The highest sequence number that came or, by the word of its filter, does not come any more.
    pub highest: u64,
    /// Sequence numbers below it that are missing.
    pub missing: u64,
    /// Records that came more than once.
    pub duplicates: u64,
    /// Of these, those whose content differed.
    pub conflicts: u64,
    /// The first missing ranges, both ends included.
    pub gaps: Vec<[u64; 2]>,
}

/// The whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditStatus {
    /// Records stored.
    pub total: u64,
    /// The index from which on an entry of the log commits to its record; an older version hashed those before.
    pub committed_from: u64,
    /// Data subjects whose keys were deleted.
    pub erasures: u64,
    /// Sequence numbers that are missing.
    pub missing: u64,
    /// Records that came and could not be read, or that their sender may not write.
    pub rejected: u64,
    /// Everything lost: missing and rejected.
    pub lost: u64,
    /// Of these, what gateways sent or said.
    pub gateways_missing: u64,
    /// The same.
    pub gateways_rejected: u64,
    /// The same.
    pub gateways_lost: u64,
    /// Of these, what sidecars sent or said.
    pub sidecars_missing: u64,
    /// The same.
    pub sidecars_rejected: u64,
    /// The same.
    pub sidecars_lost: u64,
    /// Records that came more than once.
    pub duplicates: u64,
    /// Of these, those whose content differed.
    pub conflicts: u64,
    /// By stream: those with gaps first, then the newest, 500 at most.
    pub streams: Vec<StreamStatus>,
}
