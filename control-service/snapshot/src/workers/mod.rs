//! Which worker of which proxy has which revision.

mod known;
mod scope;
mod sighting;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_control_domain::clock::millis;
use portcullis_control_domain::rollout::{RolloutProgress, SilentWorker, WorkerReport};
use portcullis_identity::ids::SpiffeId;
use tokio::sync::{Notify, watch};

use crate::View;
use known::Known;
pub use known::POLLS;
pub use scope::RolloutScope;
use sighting::merged;
pub use sighting::{OtherReplica, Sighting};
use worker::{Key, Worker};

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

/// What is to be written down for other replicas.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WorkerChanges {
    /// Whether what was written before is not there any more.
    pub anew: bool,
    /// Workers of which something changed.
    pub changed: Vec<Sighting>,
    /// Workers that are forgotten: whose they are, and what they call themselves.
    pub gone: Vec<(String, String)>,
    /// Whether a worker is between two polls, as far as one can tell.
    pub unsettled: bool,
}

/// All workers that are alive.
#[derive(Debug)]
pub struct Workers {
    known: Mutex<Known>,
    /// How far workers are.
    changed: watch::Sender<u64>,
    /// Something of this replica's workers, their coming and going included.
    moved: Notify,
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
        if let Some(worker) = self.workers.lock().own.get_mut(&self.key) {
            worker.polls = worker.polls.saturating_sub(1);
            worker.last_seen = Instant::now();
        }
        self.workers.moved.notify_one();
    }
}

impl Workers {
    /// No worker yet. One that has not polled for `forget_after` no longer counts.
    #[must_use]
    pub fn new(forget_after: Duration) -> Self {
        let (changed, moved) = (watch::Sender::new(0), Notify::new());
        Self { known: Mutex::default(), changed, moved, forget_after }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
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
            if !known.own.contains_key(&key) {
                known.make_room(principal, *view == View::Gateway);
            }
            let worker = known.own.entry(key.clone()).or_insert_with(|| Worker {
                proxy: report.proxy.to_owned(),
                view: view.clone(),
                acknowledged: 0,
                polls: 0,
                polled: now,
                last_seen: now,
                stale_after: report.stale_after,
                written: None,
            });
            report.proxy.clone_into(&mut worker.proxy);
            worker.acknowledged = report.acknowledged.unwrap_or(0);
            worker.stale_after = report.stale_after;
            worker.view = view.clone();
            worker.polls = worker.polls.saturating_add(1);
            worker.polled = now;
            worker.last_seen = now;
        }
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        self.moved.notify_one();
        Polling { workers: Arc::clone(self), key }
    }

    /// Waits until something of this replica's workers may have to be written down.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// What is to be written down for other replicas; it counts as written. One that calls at a time.
    #[must_use]
    pub fn changes(&self) -> WorkerChanges {
        let now = Instant::now();
        let mut known = self.lock();
        known.forget(now, self.forget_after);
        let mut changes = WorkerChanges { anew: std::mem::take(&mut known.anew), ..WorkerChanges::default() };
        for (key, worker) in &mut known.own {
            let away = worker.polls == 0;
            let to_write = worker.to_write(now);
            changes.unsettled |= away && to_write.away_since.is_none();
            if worker.written.as_ref() != Some(&to_write) {
                let polling = to_write.away_since.is_none();
                worker.written = Some(to_write);
                changes.changed.push(Sighting { polling, ..worker.seen(key, now) });
            }
        }
        let gone = std::mem::take(&mut known.gone);
        changes.gone = gone.into_iter().map(|(principal, id)| (principal.to_string(), id)).collect();
        changes
    }

    /// What was written down is not there, or it is not known whether it is.
    pub fn are_unwritten(&self) {
        let mut known = self.lock();
        known.anew = true;
        known.gone.clear();
        known.own.values_mut().for_each(|worker| worker.written = None);
        self.moved.notify_one();
    }

    /// Takes over what other replicas know.
    pub fn set_others(&self, others: Vec<OtherReplica>) {
        self.lock().others = others;
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Every worker of which anything is known, each once.
    fn all(&self) -> Vec<Sighting> {
        let now = Instant::now();
        let known = self.lock();
        let own = known.own.iter().map(|(key, worker)| worker.seen(key, now)).collect();
        merged(own, &known.others, now)
    }

    /// Every worker that counts, by proxy.
    #[must_use]
    pub fn list(&self) -> Vec<WorkerReport> {
        let mut all = self.all();
        all.retain(|seen| seen.silence < self.forget_after);
        let mut list: Vec<_> = all.iter().map(Sighting::report).collect();
        list.sort_by(|a, b| (&a.proxy, &a.worker).cmp(&(&b.proxy, &b.worker)));
        list
    }

    /// How far a change is now.
    #[must_use]
    pub fn progress(&self, revision: u64, scope: RolloutScope<'_>) -> RolloutProgress {
        let mut progress = RolloutProgress::unknown(revision);
        self.lock().forget(Instant::now(), self.forget_after);
        for seen in self.all().iter().filter(|seen| scope.includes(&seen.view)) {
            let has_it = seen.acknowledged >= revision;
            let counts = seen.silence < self.forget_after;
            progress.workers += usize::from(counts);
            progress.acknowledged += usize::from(counts && has_it);
            match (counts, has_it) {
                (_, true) => {}
                (true, false) => progress.pending.push(seen.report()),
                // It does not count any more, and may serve without the change all the same.
                (false, false) if seen.silence < seen.stale_after => progress.silent.push(SilentWorker {
                    worker: seen.report(),
                    stale_in_ms: millis(seen.stale_after.saturating_sub(seen.silence)),
                }),
                (false, false) => {}
            }
        }
        progress.pending.sort_by(|a, b| (&a.proxy, &a.worker).cmp(&(&b.proxy, &b.worker)));
        progress.silent_workers = progress.silent.len();
        progress.silent.sort_by(|a, b| a.worker.worker.cmp(&b.worker.worker));
        progress
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

#[cfg(test)]
mod tests {
    use portcullis_identity::ids::ClusterId;

    use super::known::MAX_WORKERS;
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
                polled: last_seen,
                last_seen,
                stale_after: HOUR,
                written: None,
            };
            workers.lock().own.insert((name(&id), id), worker);
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
        workers.lock().own.values_mut().for_each(|worker| worker.last_seen -= Duration::from_secs(30));
        let later = workers.progress(8, RolloutScope::Gateways);
        assert_eq!((later.workers, later.pending.len(), later.silent.len()), (0, 0, 1));
        assert_eq!(later.silent[0].worker.worker, "long");
        assert!((20_000..=30_000).contains(&later.silent[0].stale_in_ms));
        assert_eq!(workers.progress(7, RolloutScope::Gateways).silent, []);
        drop(workers.polls(&name("gateway"), "long", &View::Gateway, report(Duration::from_secs(60))));
        assert_eq!(workers.progress(8, RolloutScope::Gateways).pending.len(), 1);
    }
}
