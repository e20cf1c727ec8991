//! Which worker has which revision, whichever replica it polls: each replica writes down what it knows of its workers,
//! and reads what others know when somebody asks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_control_domain::rollout::{RolloutProgress, WorkerReport};
use portcullis_control_snapshot::{PollReport, Polling, RolloutScope, Sighting, View, Workers};
use portcullis_control_store::{LEASE, ReplicaId, ReplicaWorkers, Store, StoreError};
use portcullis_identity::ids::SpiffeId;
use tokio::sync::Mutex;

/// Changes are written in groups: the next one so long after the last.
const GROUP: Duration = Duration::from_millis(50);
/// How often what others know is looked at while somebody waits.
const FOLLOW: Duration = Duration::from_millis(30);
/// When a worker that seems to be between two polls is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How long metrics wait for what others know.
const METRICS_WAIT: Duration = Duration::from_secs(1);

/// What other replicas know.
#[derive(Default)]
struct Others {
    of: HashMap<ReplicaId, (ReplicaWorkers, Arc<[Sighting]>)>,
    /// When they were asked last.
    asked: Option<Instant>,
}

/// Whether changes are written is not known, also where nobody waits for the answer any more: all is written again.
struct Doubt<'a>(Option<&'a Workers>);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(workers) = self.0 {
            workers.are_unwritten();
        }
    }
}

/// The workers of all replicas.
pub struct Rollout {
    store: Store,
    workers: Arc<Workers>,
    others: Mutex<Others>,
    writing: Mutex<()>,
}

impl Rollout {
    /// Of this replica's workers and those that the database tells of.
    #[must_use]
    pub fn new(store: Store, workers: Arc<Workers>) -> Self {
        Self { store, workers, others: Mutex::default(), writing: Mutex::default() }
    }

    /// Notes a poll of a principal's worker. One that has nothing yet (`is_new`) is written down first: no replica may
    /// take a change to be everywhere while it does not know of somebody who reads.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written down; it must get no page then.
    pub async fn polls(
        &self,
        principal: &SpiffeId,
        id: &str,
        view: &View,
        report: PollReport<'_>,
        is_new: bool,
    ) -> Result<Polling, StoreError> {
        let polling = self.workers.polls(principal, id, view, report);
        if is_new {
            // A database that does not answer keeps nobody for longer than this replica's word counts.
            tokio::select! {
                written = self.record() => written.map(drop)?,
                behind = self.store.hub().freshness().until_behind() => return Err(behind.into()),
            }
        }
        Ok(polling)
    }

    /// Every worker that counts, by proxy.
    ///
    /// # Errors
    /// [`StoreError`] when other replicas' workers cannot be read.
    pub async fn list(&self) -> Result<Vec<WorkerReport>, StoreError> {
        self.refresh(Instant::now()).await?;
        Ok(self.workers.list())
    }

    /// As [`Self::list`], or what is known of others where they cannot be asked at once.
    pub async fn list_at_hand(&self) -> Vec<WorkerReport> {
        // What is left out then, the others' own metrics tell.
        let _ = tokio::time::timeout(METRICS_WAIT, self.refresh(Instant::now())).await;
        self.workers.list()
    }

    /// Whether every worker that counts, sidecars included, has a revision.
    ///
    /// # Errors
    /// [`StoreError`] when other replicas' workers cannot be read.
    pub async fn everywhere(&self, revision: u64) -> Result<bool, StoreError> {
        self.refresh(Instant::now()).await?;
        Ok(self.workers.everywhere(revision))
    }

    /// Waits until every worker concerned has a change, or the time is over. Where others' workers cannot be read
    /// meanwhile, nothing is known of any worker. Who does not reach the whole platform is told how many workers there are,
    /// and by name only those of clusters within reach.
    pub async fn wait_for(
        &self,
        revision: u64,
        scope: RolloutScope<'_>,
        wait: Duration,
        reach: Reach,
    ) -> RolloutProgress {
        let mut progress = self.progress_of_all(revision, scope, wait).await;
        let names_any = !progress.pending.is_empty() || !progress.silent.is_empty();
        if reach != Reach::Platform && names_any {
            let asked = tokio::time::timeout(RETRY, self.store.cluster_ids(reach)).await;
            let Ok(Ok(clusters)) = asked else {
                tracing::warn!(revision, "nobody knows whose workers may be named");
                progress.name_only(|_| false);
                return progress;
            };
            let views: HashSet<String> =
                clusters.into_iter().map(|id| View::Public(id).to_string()).collect();
            progress.name_only(|view| views.contains(view));
        }
        progress
    }

    async fn progress_of_all(
        &self,
        revision: u64,
        scope: RolloutScope<'_>,
        wait: Duration,
    ) -> RolloutProgress {
        let begun = Instant::now();
        loop {
            let asked = tokio::time::timeout(wait.max(RETRY), self.refresh(begun)).await;
            let told = match asked {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if begun.elapsed() >= wait {
                tracing::warn!(revision, told, "nobody knows how far a change has got");
                return RolloutProgress::unknown(revision);
            }
            tokio::time::sleep(FOLLOW).await;
        }
        let wait = wait.saturating_sub(begun.elapsed());
        tokio::select! {
            progress = self.workers.wait_for(revision, scope, wait) => progress,
            progress = self.follow() => match progress {},
        }
    }

    /// Looks again and again at what others know. Should that fail now and then, what is known stays so.
    async fn follow(&self) -> std::convert::Infallible {
        if !self.store.is_shared() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(FOLLOW).await;
            let _ = self.refresh(Instant::now()).await;
        }
    }

    /// Takes over what others know, unless that was done since a time.
    async fn refresh(&self, since: Instant) -> Result<(), StoreError> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let mut others = self.others.lock().await;
        if others.asked.is_some_and(|at| at >= since) {
            return Ok(());
        }
        let asked = Instant::now();
        let known = others.of.iter().map(|(id, (other, _))| (id.clone(), other.changed)).collect();
        for (id, mut news) in self.store.other_workers(known).await? {
            let before = others.of.remove(&id).map(|(_, sightings)| sightings);
            let sightings = news.sightings.take().or(before).unwrap_or_default();
            others.of.insert(id, (news, sightings));
        }
        // A server that crashes forgets all of them. They write it again, but not at once, so they are remembered for as
        // long as one of their workers may serve by what it has.
        others.of.retain(|_, (other, sightings)| {
            let silence = other.silence + other.at.elapsed();
            silence < LEASE || sightings.iter().any(|seen| silence < seen.stale_after)
        });
        let all = others.of.values().map(|(other, sightings)| other.knowing(Arc::clone(sightings)));
        self.workers.set_others(all.collect());
        others.asked = Some(asked);
        Ok(())
    }

    /// Writes down what changed of this replica's workers; true while one may be between two polls.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    async fn record(&self) -> Result<bool, StoreError> {
        if !self.store.is_shared() {
            return Ok(false);
        }
        let _one_at_a_time = self.writing.lock().await;
        let changes = self.workers.changes();
        let unsettled = changes.unsettled;
        if !changes.anew && changes.changed.is_empty() && changes.gone.is_empty() {
            return Ok(unsettled);
        }
        let mut doubt = Doubt(Some(&self.workers));
        let written = self.store.write_workers(changes).await;
        if matches!(written, Ok(true)) {
            doubt.0 = None;
        }
        written.map(|_| unsettled)
    }

    /// Writes down what changes, until it is dropped.
    pub async fn keep(&self) {
        if !self.store.is_shared() {
            return std::future::pending().await;
        }
        let mut outage = OutageLog::new(
            "other replicas cannot be told of this one's workers",
            "other replicas are told of this one's workers again",
        );
        let mut unsettled = false;
        loop {
            if unsettled {
                // Whether something moved or the time is over is the same.
                let _ = tokio::time::timeout(LOOK_AGAIN, self.workers.moved()).await;
            } else {
                self.workers.moved().await;
            }
            let recorded = self.record().await;
            outage.note(recorded.as_ref().err());
            unsettled = recorded.as_ref().map_or(unsettled, |between| *between);
            tokio::time::sleep(if recorded.is_ok() { GROUP } else { RETRY }).await;
        }
    }
}
