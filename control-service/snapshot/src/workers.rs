//! Which worker of which proxy has which revision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_control_domain::rollout::{RolloutProgress, SilentWorker, WorkerReport};
use portcullis_identity::ids::{ClusterId, SpiffeId};
use tokio::sync::watch;

use crate::View;

/// Long polls of one sidecar's principal at a time. A worker has one open.
pub const POLLS: usize = 64;
/// Workers remembered at most; beyond that, those that were away longest are dropped.
const MAX_WORKERS: usize = 10_000;

/// A worker: whose it is, and what it calls itself. The second is free text.
type Key = (SpiffeId, String);

#[derive(Debug)]
struct Worker {
    proxy: String,
    view: View,
    acknowledged: u64,
    polls: u32,
    last_seen: Instant,
    stale_after: Duration,
}

impl Worker {
    /// Since when nothing was heard of it; zero while it polls.
    fn silence(&self, now: Instant) -> Duration {
        if self.polls > 0 { Duration::ZERO } else { now.saturating_duration_since(self.last_seen) }
    }

    fn report(&self, id: &str, now: Instant) -> WorkerReport {
        WorkerReport {
            worker: id.to_owned(),
            proxy: self.proxy.clone(),
            view: self.view.to_string(),
            revision: self.acknowledged,
            polling: self.polls > 0,
            last_seen_ms_ago: millis(self.silence(now)),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whom a change concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutScope<'a> {
    /// Gateways alone.
    Gateways,
    /// Gateways, and the sidecars of a cluster.
    Cluster(&'a ClusterId),
    /// Gateways and all sidecars.
    Everybody,
}

impl RolloutScope<'_> {
    fn includes(self, view: &str) -> bool {
        let is = |one: View| view == one.to_string();
        match self {
            Self::Everybody => true,
            Self::Gateways => is(View::Gateway),
            Self::Cluster(id) => is(View::Gateway) || is(View::Public(id.clone())),
        }
    }
}

/// What a poll says of its worker.
#[derive(Debug, Clone, Copy)]
pub struct PollReport<'a> {
    /// Node id of its proxy.
    pub proxy: &'a str,
    /// The revision that it has, `None` while it is still resyncing.
    pub acknowledged: Option<u64>,
    /// How long it serves without a poll that comes to an end.
    pub stale_after: Duration,
}

/// All workers that are alive.
#[derive(Debug)]
pub struct Workers {
    known: Mutex<HashMap<Key, Worker>>,
    changed: watch::Sender<u64>,
    forget_after: Duration,
}

/// Held while a worker's poll waits; dropped when it is answered or the connection ends.
#[derive(Debug)]
pub struct Polling {
    workers: Arc<Workers>,
    key: Key,
}

impl Drop for Polling {
    fn drop(&mut self) {
        if let Some(worker) = self.workers.lock().get_mut(&self.key) {
            worker.polls = worker.polls.saturating_sub(1);
            worker.last_seen = Instant::now();
        }
    }
}

impl Workers {
    /// No worker yet. One that has not polled for `forget_after` no longer counts.
    #[must_use]
    pub fn new(forget_after: Duration) -> Self {
        Self { known: Mutex::default(), changed: watch::Sender::new(0), forget_after }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Worker>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a poll of a principal's worker.
    #[must_use]
    pub fn polls(
        self: &Arc<Self>,
        principal: &SpiffeId,
        id: &str,
        view: &View,
        report: PollReport<'_>,
    ) -> Polling {
        let key = (principal.clone(), id.to_owned());
        {
            let mut known = self.lock();
            let now = Instant::now();
            if !known.contains_key(&key) {
                make_room(&mut known, principal, *view == View::Gateway);
            }
            let worker = known.entry(key.clone()).or_insert_with(|| Worker {
                proxy: report.proxy.to_owned(),
                view: view.clone(),
                acknowledged: 0,
                polls: 0,
                last_seen: now,
                stale_after: report.stale_after,
            });
            worker.acknowledged = report.acknowledged.unwrap_or(0);
            worker.stale_after = report.stale_after;
            worker.view = view.clone();
            worker.polls = worker.polls.saturating_add(1);
            worker.last_seen = now;
        }
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        Polling { workers: Arc::clone(self), key }
    }

    /// Every worker that counts, by proxy.
    #[must_use]
    pub fn list(&self) -> Vec<WorkerReport> {
        let now = Instant::now();
        let known = self.lock();
        let counts = known.iter().filter(|(_, w)| w.silence(now) < self.forget_after);
        let mut list: Vec<_> = counts.map(|((_, id), w)| w.report(id, now)).collect();
        list.sort_by(|a, b| (&a.proxy, &a.worker).cmp(&(&b.proxy, &b.worker)));
        list
    }

    /// How far a change is now.
    #[must_use]
    pub fn progress(&self, revision: u64, scope: RolloutScope<'_>) -> RolloutProgress {
        let mut concerned = self.list();
        concerned.retain(|w| scope.includes(&w.view));
        let workers = concerned.len();
        concerned.retain(|w| w.revision < revision);
        let silent = self.silent(revision, scope);
        RolloutProgress {
            revision,
            acknowledged: workers - concerned.len(),
            workers,
            pending: concerned,
            silent,
        }
    }

    /// Whom a change concerns that does not count any more and may serve without it all the same. Forgets those
    /// that cannot.
    fn silent(&self, revision: u64, scope: RolloutScope<'_>) -> Vec<SilentWorker> {
        let now = Instant::now();
        let mut known = self.lock();
        let forget = self.forget_after;
        known.retain(|_, w| w.silence(now) < w.stale_after.max(forget));
        let mut silent: Vec<_> = known
            .iter()
            .filter(|(_, w)| w.silence(now) >= forget && w.acknowledged < revision)
            .map(|((_, id), w)| SilentWorker {
                worker: w.report(id, now),
                stale_in_ms: millis(w.stale_after.saturating_sub(w.silence(now))),
            })
            .filter(|silent| scope.includes(&silent.worker.view))
            .collect();
        silent.sort_by(|a, b| a.worker.worker.cmp(&b.worker.worker));
        silent
    }

    /// Whether every worker that counts, sidecars included, has a revision.
    #[must_use]
    pub fn everywhere(&self, revision: u64) -> bool {
        self.list().iter().all(|w| w.revision >= revision)
    }

    /// Waits until every worker concerned has a change, or the time is over.
    pub async fn wait_for(&self, revision: u64, scope: RolloutScope<'_>, wait: Duration) -> RolloutProgress {
        let deadline = tokio::time::Instant::now() + wait;
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let progress = self.progress(revision, scope);
            if progress.pending.is_empty() {
                return progress;
            }
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return progress },
                () = tokio::time::sleep_until(deadline) => return self.progress(revision, scope),
            }
        }
    }
}

/// Drops a worker that is away, if the list is too long for one more of this principal: a sidecar has no more of
/// them than polls, and only gateways displace gateways.
fn make_room(known: &mut HashMap<Key, Worker>, principal: &SpiffeId, gateway: bool) {
    if !gateway && known.keys().filter(|(owner, _)| owner == principal).count() >= POLLS {
        drop_oldest(known, |owner, _| owner == principal);
    }
    let is_sidecar = |_: &SpiffeId, worker: &Worker| worker.view != View::Gateway;
    if known.len() >= MAX_WORKERS && !drop_oldest(known, is_sidecar) && gateway {
        drop_oldest(known, |_, _| true);
    }
}

/// Drops the one that has been away longest; false when there is none.
fn drop_oldest(known: &mut HashMap<Key, Worker>, which: impl Fn(&SpiffeId, &Worker) -> bool) -> bool {
    let away = known.iter().filter(|((owner, _), worker)| worker.polls == 0 && which(owner, worker));
    let oldest = away.min_by_key(|(_, worker)| worker.last_seen).map(|(key, _)| key.clone());
    oldest.is_some_and(|key| known.remove(&key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SpiffeId {
        SpiffeId::new(&["spiffe://cluster.local/ns/a/sa/", text].concat()).unwrap()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn report(proxy: &str, acknowledged: u64) -> PollReport<'_> {
        PollReport { proxy, acknowledged: Some(acknowledged), stale_after: HOUR }
    }

    fn public() -> View {
        View::Public(ClusterId::new("acme").unwrap())
    }

    #[test]
    fn a_sidecar_has_a_bounded_part_of_the_list_and_displaces_itself_alone() {
        let workers = Arc::new(Workers::new(Duration::from_secs(60)));
        drop(workers.polls(&name("gateway"), "01", &View::Gateway, report("g", 1)));
        drop(workers.polls(&name("other"), "01", &public(), report("o", 1)));
        for n in 0..1000 {
            drop(workers.polls(&name("sidecar"), &n.to_string(), &public(), report("s", 1)));
        }
        let list = workers.list();
        assert_eq!(list.iter().filter(|w| w.proxy == "s").count(), POLLS);
        assert_eq!(list.iter().filter(|w| w.proxy != "s").count(), 2);
        assert!(list.iter().any(|w| w.worker == "999"), "the newest is in the list");
    }

    #[test]
    fn a_full_list_drops_sidecars_before_gateways() {
        let workers = Arc::new(Workers::new(Duration::from_secs(60)));
        for n in 0..2 {
            drop(workers.polls(&name("gateway"), &n.to_string(), &View::Gateway, report("g", 1)));
        }
        for n in 2..MAX_WORKERS {
            let (id, last_seen) = (n.to_string(), Instant::now());
            let worker = Worker {
                proxy: "s".into(),
                view: public(),
                acknowledged: 1,
                polls: 0,
                last_seen,
                stale_after: HOUR,
            };
            workers.lock().insert((name(&id), id), worker);
        }
        drop(workers.polls(&name("gateway"), "new", &View::Gateway, report("g", 1)));
        drop(workers.polls(&name("sidecar"), "new", &public(), report("s", 1)));
        let list = workers.list();
        assert_eq!(list.len(), MAX_WORKERS);
        assert_eq!(list.iter().filter(|w| w.proxy == "g").count(), 3);
    }

    #[test]
    fn a_sidecar_that_calls_itself_like_a_gateways_worker_is_another_worker() {
        let workers = Arc::new(Workers::new(Duration::from_secs(60)));
        let _gateway = workers.polls(&name("gateway"), "01", &View::Gateway, report("g", 1));
        let _sidecar = workers.polls(&name("sidecar"), "01", &public(), report("g", 9));
        assert_eq!(workers.progress(9, RolloutScope::Gateways).pending.len(), 1);
    }

    #[test]
    fn who_is_silent_is_named_until_it_cannot_serve_any_more() {
        let forget = Duration::from_secs(20);
        let workers = Arc::new(Workers::new(forget));
        let report = |stale_after| PollReport { proxy: "p", acknowledged: Some(7), stale_after };
        drop(workers.polls(&name("gateway"), "long", &View::Gateway, report(Duration::from_secs(60))));
        drop(workers.polls(&name("gateway"), "short", &View::Gateway, report(Duration::from_secs(25))));
        let now = workers.progress(8, RolloutScope::Gateways);
        assert_eq!((now.workers, now.pending.len(), now.silent.len()), (2, 2, 0));
        workers.lock().values_mut().for_each(|worker| worker.last_seen -= Duration::from_secs(30));
        let later = workers.progress(8, RolloutScope::Gateways);
        assert_eq!((later.workers, later.pending.len(), later.silent.len()), (0, 0, 1));
        assert_eq!(later.silent[0].worker.worker, "long");
        assert!((20_000..=30_000).contains(&later.silent[0].stale_in_ms));
        assert_eq!(workers.progress(7, RolloutScope::Gateways).silent, []);
        drop(workers.polls(&name("gateway"), "long", &View::Gateway, report(Duration::from_secs(60))));
        assert_eq!(workers.progress(8, RolloutScope::Gateways).pending.len(), 1);
    }
}
