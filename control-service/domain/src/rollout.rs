//! Which worker of which proxy has which revision, as it is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A worker as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerReport {
    /// Its stream id, hexadecimal.
    pub worker: String,
    /// Node id of its proxy.
    pub proxy: String,
    /// Its view.
    pub view: String,
    /// The revision that it acknowledged; 0 for none yet.
    pub revision: u64,
    /// Whether a poll of its is waiting now.
    pub polling: bool,
    /// Milliseconds since it was last heard of; 0 while it polls.
    pub last_seen_ms_ago: u64,
}

/// How far a change has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutProgress {
    /// The revision of the change.
    pub revision: u64,
    /// Workers that have it.
    pub acknowledged: usize,
    /// Workers that it concerns.
    pub workers: usize,
    /// Those that do not have it yet, as far as the caller may see them.
    pub pending: Vec<WorkerReport>,
    /// How many do not have it and no longer count: they are gone, or cut off and serve by what they have.
    #[serde(default)]
    pub silent_workers: usize,
    /// Those of them that the caller may see.
    pub silent: Vec<SilentWorker>,
}

impl RolloutProgress {
    /// Of no worker it is known whether it has a change.
    #[must_use]
    pub fn unknown(revision: u64) -> Self {
        let (pending, silent) = (Vec::new(), Vec::new());
        Self { revision, acknowledged: 0, workers: 0, pending, silent_workers: 0, silent }
    }

    /// How many workers do not have it yet, whether or not they are named.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.workers.saturating_sub(self.acknowledged)
    }

    /// Names those workers alone whose view is one that the caller may see; the counts stay.
    pub fn name_only(&mut self, may_see: impl Fn(&str) -> bool) {
        self.pending.retain(|worker| may_see(&worker.view));
        self.silent.retain(|silent| may_see(&silent.worker.view));
    }
}

/// A worker of which nothing was heard for a while, although its snapshot is not stale yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SilentWorker {
    /// The worker.
    #[serde(flatten)]
    pub worker: WorkerReport,
    /// Milliseconds for which it may go on; then it refuses every request.
    pub stale_in_ms: u64,
}
