//! What the leader tells the others of issuers.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::issuer::{IssuerReport, LeftOutKey};
use portcullis_control_domain::retry::LONGEST_ASKED;
use serde::{Deserialize, Serialize};

/// What a leader tells.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Word {
    pub(super) issuers: Vec<IssuerReport>,
    pub(super) left_out: Vec<LeftOutKey>,
    /// Where fetching goes on, by issuer.
    pub(super) resume: BTreeMap<String, Resume>,
}

/// How far the fetches of an issuer's keys are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resume {
    /// What is fetched.
    pub(super) source: String,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Until when the issuer wants not to be asked, milliseconds since the Unix epoch.
    pub(super) not_before_ms: u64,
    /// When it was asked last. Services of before did not tell it.
    #[serde(default)]
    pub(super) asked_at_ms: u64,
    /// When it is asked next.
    pub(super) next_at_ms: u64,
    /// Good and failed fetches.
    pub(super) fetched: u64,
    pub(super) failed: u64,
    /// What the last one failed by, if it did.
    pub(super) last_error: Option<String>,
}

impl Resume {
    /// When to ask next, whatever the clock of whoever led before says.
    pub(super) fn next(&self, every: Duration) -> Duration {
        Duration::from_millis(self.next_at_ms.saturating_sub(now_ms())).min(every.max(LONGEST_ASKED))
    }
}
