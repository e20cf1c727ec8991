//! A worker of this replica's own.

use std::time::{Duration, Instant};

use portcullis_identity::ids::SpiffeId;

use super::sighting::Sighting;
use crate::View;

/// Between two polls of a worker there is a moment. So short a one is not written down.
const BETWEEN_POLLS: Duration = Duration::from_millis(300);

/// A worker: whose it is, and what it calls itself. The second is free text.
pub(super) type Key = (SpiffeId, String);

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) proxy: String,
    pub(super) view: View,
    pub(super) acknowledged: u64,
    pub(super) polls: u32,
    pub(super) polled: Instant,
    pub(super) last_seen: Instant,
    pub(super) stale_after: Duration,
    /// What other replicas are told of it.
    pub(super) written: Option<Written>,
}

/// What of a worker is written down for other replicas when it changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    view: View,
    proxy: String,
    acknowledged: u64,
    stale_after: Duration,
    /// When it was last heard of, unless it polls.
    pub(super) away_since: Option<Instant>,
}

impl Worker {
    /// Since when nothing was heard of it; zero while it polls.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        if self.polls > 0 { Duration::ZERO } else { now.saturating_duration_since(self.last_seen) }
    }

    pub(super) fn seen(&self, (principal, id): &Key, now: Instant) -> Sighting {
        Sighting {
            principal: principal.to_string(),
            worker: id.clone(),
            proxy: self.proxy.clone(),
            view: self.view.to_string(),
            acknowledged: self.acknowledged,
            polling: self.polls > 0,
            polled_ago: now.saturating_duration_since(self.polled),
            silence: self.silence(now),
            stale_after: self.stale_after,
        }
    }

    pub(super) fn to_write(&self, now: Instant) -> Written {
        let is_away = self.silence(now) >= BETWEEN_POLLS;
        Written {
            view: self.view.clone(),
            proxy: self.proxy.clone(),
            acknowledged: self.acknowledged,
            stale_after: self.stale_after,
            away_since: is_away.then_some(self.last_seen),
        }
    }
}
