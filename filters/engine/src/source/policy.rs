//! What decisions are taken by, and until when.

use portcullis_model::Reason;
use portcullis_model::config::{SnapshotSource, StreamRules};
use portcullis_model::state::SnapshotState;

use crate::guarded::Rebuild;

/// What decisions are taken by.
#[derive(Debug, Default)]
pub struct Policy {
    /// What the polls brought.
    pub snapshot: SnapshotState,
    /// When the last poll was completed, by the monotonic clock in milliseconds.
    pub(super) last_completed_ms: Option<u64>,
}

impl Rebuild for Policy {
    fn rebuild(&mut self) {
        *self = Self::default();
    }
}

impl Policy {
    /// When the last poll was completed, by the monotonic clock in milliseconds.
    pub(crate) fn last_completed_ms(&self) -> Option<u64> {
        self.last_completed_ms
    }

    /// Whether decisions may be taken by it.
    ///
    /// # Errors
    /// [`Reason::SnapshotMissing`] before the first is complete, [`Reason::SnapshotStale`] when no poll was
    /// completed for longer than the configuration allows.
    pub fn usable(&self, now_ms: u64, source: &SnapshotSource) -> Result<(), Reason> {
        let Some(last) = self.last_completed_ms.filter(|_| self.snapshot.is_complete()) else {
            return Err(Reason::SnapshotMissing);
        };
        let allowed = u64::from(source.stale_after_s).saturating_mul(1_000);
        if now_ms.saturating_sub(last) > allowed {
            return Err(Reason::SnapshotStale);
        }
        Ok(())
    }

    /// Until when streams that are open may go on if no further poll is completed, by the monotonic clock in
    /// milliseconds.
    #[must_use]
    pub fn too_old_for_streams_at(&self, source: &SnapshotSource, rules: StreamRules) -> u64 {
        let allowed_s = u64::from(source.stale_after_s).saturating_add(rules.stale_grace_s.into());
        self.last_completed_ms.unwrap_or_default().saturating_add(allowed_s.saturating_mul(1_000))
    }
}
