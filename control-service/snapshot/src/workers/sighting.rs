//! A worker as one replica of the service knows it, and as all of them together do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_control_domain::clock::millis;
use portcullis_control_domain::rollout::WorkerReport;

/// Polls that began within so short a time of each other are not told apart by which was first: each replica says by its
/// own clock how long ago it was.
const TOGETHER: Duration = Duration::from_secs(1);

/// What a replica knows of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Whose it is.
    pub principal: String,
    /// What it calls itself.
    pub worker: String,
    /// Node id of its proxy.
    pub proxy: String,
    /// Its view.
    pub view: String,
    /// The revision that it has; 0 for none yet.
    pub acknowledged: u64,
    /// Whether a poll of its is waiting.
    pub polling: bool,
    /// How long ago its newest poll began.
    pub polled_ago: Duration,
    /// How long nothing was heard of it; zero while it polls.
    pub silence: Duration,
    /// How long it serves without a poll that comes to an end.
    pub stale_after: Duration,
}

impl Sighting {
    /// As the API shows it.
    pub(super) fn report(&self) -> WorkerReport {
        WorkerReport {
            worker: self.worker.clone(),
            proxy: self.proxy.clone(),
            view: self.view.clone(),
            revision: self.acknowledged,
            polling: self.polling,
            last_seen_ms_ago: millis(self.silence),
        }
    }

    /// What both say of the same worker. It has changed replicas, and the one that it asked last has the newest word.
    /// Where that cannot be told the greater revision counts: what a worker has once had it has.
    fn and(self, other: Self) -> Self {
        let polling = self.polling || other.polling;
        let silence = self.silence.min(other.silence);
        let newest = match self.polled_ago.abs_diff(other.polled_ago) < TOGETHER {
            true if self.acknowledged >= other.acknowledged => self,
            true => other,
            false if self.polled_ago < other.polled_ago => self,
            false => other,
        };
        Self { polling, silence, ..newest }
    }
}

/// What another replica knew when it was asked.
#[derive(Debug, Clone)]
pub struct OtherReplica {
    /// When that was.
    pub at: Instant,
    /// How long the replica itself had not been heard of then.
    pub silence: Duration,
    /// For how long that says nothing: then it has died, and none of its polls goes on.
    pub lease: Duration,
    /// The workers that poll it.
    pub sightings: Arc<[Sighting]>,
}

impl OtherReplica {
    fn now(&self, now: Instant) -> impl Iterator<Item = Sighting> {
        let passed = now.saturating_duration_since(self.at);
        let silence = self.silence + passed;
        let lives = silence < self.lease;
        self.sightings.iter().map(move |known| {
            let mut seen = known.clone();
            seen.polled_ago += passed;
            if known.polling && !lives {
                (seen.polling, seen.silence) = (false, silence);
            } else if !known.polling {
                seen.silence += passed;
            }
            seen
        })
    }
}

/// Each worker once, whichever replica it polls.
pub(super) fn merged(own: Vec<Sighting>, others: &[OtherReplica], now: Instant) -> Vec<Sighting> {
    if others.is_empty() {
        return own;
    }
    let mut all: HashMap<(String, String), Sighting> = HashMap::new();
    for seen in own.into_iter().chain(others.iter().flat_map(|other| other.now(now))) {
        let key = (seen.principal.clone(), seen.worker.clone());
        let seen = match all.remove(&key) {
            Some(known) => known.and(seen),
            None => seen,
        };
        all.insert(key, seen);
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(acknowledged: u64, polling: bool, polled_ago: Duration) -> Sighting {
        Sighting {
            principal: "spiffe://cluster.local/ns/a/sa/gateway".to_owned(),
            worker: "01".to_owned(),
            proxy: "p".to_owned(),
            view: "gateway".to_owned(),
            acknowledged,
            polling,
            polled_ago,
            silence: if polling { Duration::ZERO } else { polled_ago },
            stale_after: SECOND * 300,
        }
    }

    fn at(replica_silence: Duration, sightings: Vec<Sighting>, at: Instant) -> OtherReplica {
        OtherReplica { at, silence: replica_silence, lease: 5 * SECOND, sightings: sightings.into() }
    }

    #[test]
    fn a_worker_that_changes_replicas_is_one_worker() {
        let now = Instant::now();
        let own = vec![seen(7, false, 20 * SECOND)];
        let all = merged(own, &[at(SECOND, vec![seen(9, true, 4 * SECOND)], now)], now);
        assert_eq!(all, [seen(9, true, 4 * SECOND)]);
        // It begins anew at the other one.
        let own = vec![seen(9, false, 20 * SECOND)];
        let all = merged(own, &[at(SECOND, vec![seen(0, true, 4 * SECOND)], now)], now);
        assert_eq!(all, [seen(0, true, 4 * SECOND)]);
    }

    #[test]
    fn polls_whose_order_clocks_cannot_tell_count_by_what_the_worker_has() {
        let now = Instant::now();
        let later = SECOND / 2;
        for (own, other) in [(7, 9), (9, 7)] {
            let others = [at(SECOND, vec![seen(other, true, SECOND)], now)];
            assert_eq!(merged(vec![seen(own, false, later)], &others, now)[0].acknowledged, 9);
        }
    }

    #[test]
    fn workers_of_a_replica_that_died_are_silent_and_not_present() {
        let then = Instant::now();
        let others = [at(SECOND, vec![seen(7, true, 20 * SECOND)], then)];
        let after = |time| merged(Vec::new(), &others, then + time)[0].clone();
        assert!(after(3 * SECOND).polling);
        let dead = after(4 * SECOND);
        assert_eq!((dead.polling, dead.silence, dead.polled_ago), (false, 5 * SECOND, 24 * SECOND));
    }
}
