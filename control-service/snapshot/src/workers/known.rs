//! The workers that are known, and which are dropped when there are too many.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use portcullis_identity::ids::SpiffeId;

use super::sighting::OtherReplica;
use super::worker::{Key, Worker};
use crate::View;

/// Long polls of one sidecar's principal at a time. A worker has one open.
pub const POLLS: usize = 64;
/// Workers remembered at most; beyond that, those that were away longest are dropped.
pub(super) const MAX_WORKERS: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) own: HashMap<Key, Worker>,
    pub(super) others: Vec<OtherReplica>,
    /// Those of `own` that are written down and were dropped.
    pub(super) gone: Vec<Key>,
    pub(super) anew: bool,
}

impl Known {
    /// Drops a worker that is away, if the list is too long for one more of this principal: a sidecar has no more of
    /// them than polls, and only gateways displace gateways.
    pub(super) fn make_room(&mut self, principal: &SpiffeId, gateway: bool) {
        if !gateway && self.own.keys().filter(|(owner, _)| owner == principal).count() >= POLLS {
            self.drop_oldest(|owner, _| owner == principal);
        }
        let is_sidecar = |_: &SpiffeId, worker: &Worker| worker.view != View::Gateway;
        if self.own.len() >= MAX_WORKERS && !self.drop_oldest(is_sidecar) && gateway {
            self.drop_oldest(|_, _| true);
        }
    }

    /// Drops the one that has been away longest; false when there is none.
    fn drop_oldest(&mut self, which: impl Fn(&SpiffeId, &Worker) -> bool) -> bool {
        let away = self.own.iter().filter(|((owner, _), worker)| worker.polls == 0 && which(owner, worker));
        let oldest = away.min_by_key(|(_, worker)| worker.last_seen).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.drop_one(key))
    }

    fn drop_one(&mut self, key: Key) -> bool {
        let Some(worker) = self.own.remove(&key) else { return false };
        if worker.written.is_some() {
            self.gone.push(key);
        }
        true
    }

    /// Drops those that do not count and cannot serve any more.
    pub(super) fn forget(&mut self, now: Instant, forget_after: Duration) {
        let over = |worker: &Worker| worker.silence(now) >= worker.stale_after.max(forget_after);
        let gone: Vec<Key> = self.own.iter().filter(|(_, w)| over(w)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.drop_one(key);
        }
    }
}
