//! Which worker of which proxy has which revision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_core::ids::ClusterId;
use serde::Serialize;
use tokio::sync::watch;

use super::View;

/// Workers remembered at most; beyond that, those that were away longest are dropped.
const MAX_WORKERS: usize = 10_000;

#[derive(Debug)]
struct Worker {
    proxy: String,
    view: View,
    acknowledged: u64,
    polls: u32,
    last_seen: Instant,
}

/// A worker as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// Whom a change concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns<'a> {
    /// Gateways alone.
    Gateways,
    /// Gateways, and the sidecars of a cluster.
    Cluster(&'a ClusterId),
    /// Gateways and all sidecars.
    Everybody,
}

/// How far a change has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The revision of the change.
    pub revision: u64,
    /// Workers that have it.
    pub acknowledged: usize,
    /// Workers that it concerns.
    pub workers: usize,
    /// Those that do not have it yet.
    pub pending: Vec<WorkerReport>,
}

/// All workers that are alive.
#[derive(Debug)]
pub struct Workers {
    known: Mutex<HashMap<String, Worker>>,
    changed: watch::Sender<u64>,
    forget_after: Duration,
}

/// Held while a worker's poll waits; dropped when it is answered or the connection ends.
#[derive(Debug)]
pub struct Polling {
    workers: Arc<Workers>,
    id: String,
}

impl Drop for Polling {
    fn drop(&mut self) {
        if let Some(worker) = self.workers.lock().get_mut(&self.id) {
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

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Worker>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a poll; `acknowledged` is what the worker has, `None` while it is still resyncing.
    #[must_use]
    pub fn polls(self: &Arc<Self>, id: &str, proxy: &str, view: &View, acknowledged: Option<u64>) -> Polling {
        {
            let mut known = self.lock();
            let now = Instant::now();
            if known.len() >= MAX_WORKERS && !known.contains_key(id) {
                let oldest = known.iter().filter(|(_, w)| w.polls == 0).min_by_key(|(_, w)| w.last_seen);
                if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                    known.remove(&oldest);
                }
            }
            let worker = known.entry(id.to_owned()).or_insert_with(|| Worker {
                proxy: proxy.to_owned(),
                view: view.clone(),
                acknowledged: 0,
                polls: 0,
                last_seen: now,
            });
            worker.acknowledged = acknowledged.unwrap_or(0);
            worker.view = view.clone();
            worker.polls = worker.polls.saturating_add(1);
            worker.last_seen = now;
        }
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        Polling { workers: Arc::clone(self), id: id.to_owned() }
    }

    /// Every worker that counts, by proxy.
    #[must_use]
    pub fn list(&self) -> Vec<WorkerReport> {
        let now = Instant::now();
        let mut known = self.lock();
        let forget = self.forget_after;
        known.retain(|_, w| w.polls > 0 || now.saturating_duration_since(w.last_seen) < forget);
        let mut list: Vec<_> = known
            .iter()
            .map(|(id, w)| WorkerReport {
                worker: id.clone(),
                proxy: w.proxy.clone(),
                view: w.view.to_string(),
                revision: w.acknowledged,
                polling: w.polls > 0,
                last_seen_ms_ago: if w.polls > 0 {
                    0
                } else {
                    let ago = now.saturating_duration_since(w.last_seen);
                    u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)
                },
            })
            .collect();
        list.sort_by(|a, b| (&a.proxy, &a.worker).cmp(&(&b.proxy, &b.worker)));
        list
    }

    /// How far a change is now.
    #[must_use]
    pub fn progress(&self, revision: u64, concerns: Concerns<'_>) -> Progress {
        let gateway = View::Gateway.to_string();
        let mut concerned = self.list();
        match concerns {
            Concerns::Everybody => {}
            Concerns::Gateways => concerned.retain(|w| w.view == gateway),
            Concerns::Cluster(id) => {
                let sidecar = View::Public(id.clone()).to_string();
                concerned.retain(|w| w.view == gateway || w.view == sidecar);
            }
        }
        let workers = concerned.len();
        concerned.retain(|w| w.revision < revision);
        Progress { revision, acknowledged: workers - concerned.len(), workers, pending: concerned }
    }

    /// Whether every worker that counts, sidecars included, has a revision.
    #[must_use]
    pub fn everywhere(&self, revision: u64) -> bool {
        self.list().iter().all(|w| w.revision >= revision)
    }

    /// Waits until every worker concerned has a change, or the time is over.
    pub async fn wait_for(&self, revision: u64, concerns: Concerns<'_>, wait: Duration) -> Progress {
        let deadline = tokio::time::Instant::now() + wait;
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let progress = self.progress(revision, concerns);
            if progress.pending.is_empty() {
                return progress;
            }
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return progress },
                () = tokio::time::sleep_until(deadline) => return self.progress(revision, concerns),
            }
        }
    }
}
