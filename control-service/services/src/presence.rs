//! Heartbeats of data clusters.
//!
//! Most heartbeats change nothing and only move a time in memory; what changes a state is written at
//! once, times every ten seconds. A sweep puts right whatever memory and store disagree about, so that
//! no race between a heartbeat and its absence lasts longer than one sweep.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::cluster::{
    Administrative, Cluster, Heartbeat, KnownCluster, Observation, Observed,
};
use portcullis_control_store::{Store, StoreError};
use portcullis_identity::ids::ClusterId;
use portcullis_model::decision::ClusterState;
use subtle::ConstantTimeEq;

/// Heartbeat times written in one go, so that other writes get their turn.
const CHUNK: usize = 500;
/// How often heartbeat times are written down.
const FLUSH: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Liveness {
    digest: [u8; 32],
    administrative: Administrative,
    observed: Observed,
    reported: Observed,
    version: Option<String>,
    last_seen: Instant,
    last_ms: Option<u64>,
    unwritten: bool,
    order: u64,
}

/// Why a heartbeat is not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HeartbeatError {
    /// The token is not this cluster's; nothing is said about whether the cluster exists.
    #[error("the token is not this cluster's")]
    Token,
    /// The cluster was retired.
    #[error("the cluster has been retired for good")]
    Retired,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who was heard of when.
#[derive(Debug)]
pub struct Presence {
    liveness: Mutex<HashMap<ClusterId, Liveness>>,
    offline_after: Duration,
}

impl Presence {
    /// Begins with the clusters of the store. A cluster that was online gets a whole time-out from now:
    /// it could not report while the service was down.
    #[must_use]
    pub fn new(known: Vec<KnownCluster>, offline_after: Duration) -> Self {
        let liveness =
            known.into_iter().map(|k| (k.cluster.id.clone(), Liveness::new(&k.cluster, k.token_digest)));
        Self { liveness: Mutex::new(liveness.collect()), offline_after }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterId, Liveness>> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds after which a cluster should report again: three fit into the time-out.
    #[must_use]
    pub fn interval_s(&self) -> u64 {
        (self.offline_after.as_secs() / 3).max(1)
    }

    /// Takes in a new cluster.
    pub fn registered(&self, cluster: &Cluster, digest: [u8; 32]) {
        self.lock().insert(cluster.id.clone(), Liveness::new(cluster, digest));
    }

    /// Takes over what an operator said of a cluster. Retirement is final, whichever answer comes last.
    pub fn administered(&self, cluster: &Cluster) {
        let mut liveness = self.lock();
        let cluster_liveness =
            liveness.get_mut(&cluster.id).filter(|b| b.administrative != Administrative::Retired);
        if let Some(cluster_liveness) = cluster_liveness {
            cluster_liveness.administrative = cluster.administrative;
        }
    }

    /// Takes over what was written; the answer to an older write that comes late changes nothing.
    fn observed(&self, observation: &Observation) {
        let mut liveness = self.lock();
        for cluster in &observation.clusters {
            if let Some(cluster_liveness) =
                liveness.get_mut(&cluster.id).filter(|b| b.order < observation.order)
            {
                cluster_liveness.observed = cluster.observed;
                cluster_liveness.order = observation.order;
            }
        }
    }

    /// Whether the token is this cluster's, which may have been registered at another replica.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails, or may lack what is known elsewhere.
    pub async fn is_token_of(
        &self,
        store: &Store,
        id: &ClusterId,
        digest: [u8; 32],
    ) -> Result<bool, StoreError> {
        store.check_fresh()?;
        let is = |liveness: &Liveness| bool::from(liveness.digest.ct_eq(&digest));
        if let Some(known) = self.lock().get(id) {
            return Ok(is(known));
        }
        let Some(found) = store.known_cluster(id.clone()).await? else { return Ok(false) };
        let found = Liveness::new(&found.cluster, found.token_digest);
        Ok(is(self.lock().entry(id.clone()).or_insert(found)))
    }

    /// Takes a heartbeat; returns the cluster's state as filters enforce it.
    ///
    /// # Errors
    /// [`HeartbeatError`] when token or cluster is not right, or the store fails.
    pub async fn heartbeat(
        &self,
        store: &Store,
        id: ClusterId,
        digest: [u8; 32],
        reported: Observed,
        version: Option<String>,
    ) -> Result<ClusterState, HeartbeatError> {
        let at_ms = Some(now_ms());
        {
            let mut liveness = self.lock();
            let cluster_liveness = liveness.get_mut(&id).filter(|b| bool::from(b.digest.ct_eq(&digest)));
            let cluster_liveness = cluster_liveness.ok_or(HeartbeatError::Token)?;
            if cluster_liveness.administrative == Administrative::Retired {
                return Err(HeartbeatError::Retired);
            }
            cluster_liveness.last_seen = Instant::now();
            cluster_liveness.last_ms = at_ms;
            cluster_liveness.reported = reported;
            cluster_liveness.unwritten = true;
            let news = cluster_liveness.observed != reported
                || (version.is_some() && cluster_liveness.version != version);
            if version.is_some() {
                cluster_liveness.version.clone_from(&version);
            }
            if !news {
                return Ok(portcullis_control_domain::cluster::effective(
                    cluster_liveness.administrative,
                    cluster_liveness.observed,
                ));
            }
        }
        let heartbeat = Heartbeat { id, observed: reported, version, at_ms };
        let observation = store.observe(vec![heartbeat]).await?;
        self.observed(&observation);
        observation.clusters.first().map(|cluster| cluster.state).ok_or(HeartbeatError::Token)
    }

    /// What the store should say and does not.
    fn overdue(&self) -> Vec<Heartbeat> {
        let now = Instant::now();
        let liveness = self.lock();
        let wrong = liveness.iter().filter_map(|(id, cluster_liveness)| {
            let silent = now.saturating_duration_since(cluster_liveness.last_seen) >= self.offline_after;
            let should = match (cluster_liveness.reported, silent) {
                (Observed::Pending, _) => Observed::Pending,
                (_, true) => Observed::Offline,
                (reported, false) => reported,
            };
            let wrong = cluster_liveness.administrative != Administrative::Retired
                && should != cluster_liveness.observed;
            wrong.then(|| Heartbeat {
                id: id.clone(),
                observed: should,
                version: None,
                at_ms: cluster_liveness.last_ms,
            })
        });
        wrong.collect()
    }

    /// The service itself did not run for so long, so that silence in this time says nothing.
    fn extend_deadlines(&self, stalled: Duration) {
        let now = Instant::now();
        for cluster_liveness in self.lock().values_mut() {
            cluster_liveness.last_seen =
                cluster_liveness.last_seen.checked_add(stalled).map_or(now, |seen| seen.min(now));
        }
    }

    /// Looks once for clusters that fell silent.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; the next sweep tries again.
    pub async fn sweep(&self, store: &Store) -> Result<(), StoreError> {
        for chunk in self.overdue().chunks(CHUNK) {
            let observation = store.observe(chunk.to_vec()).await?;
            self.observed(&observation);
            for cluster in observation.clusters {
                tracing::info!(cluster = %cluster.id, state = cluster.state.as_str(), "cluster state changed");
            }
        }
        Ok(())
    }

    /// Writes down the times of heartbeats.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; what was not written is written next time.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let times: Vec<_> = {
            let mut liveness = self.lock();
            let take = |(id, cluster_liveness): (&ClusterId, &mut Liveness)| {
                let unwritten = std::mem::take(&mut cluster_liveness.unwritten);
                cluster_liveness.last_ms.filter(|_| unwritten).map(|at_ms| (id.clone(), at_ms))
            };
            liveness.iter_mut().filter_map(take).collect()
        };
        for chunk in times.chunks(CHUNK) {
            if let Err(error) = store.note_times(chunk.to_vec()).await {
                let mut liveness = self.lock();
                for (id, _) in &times {
                    if let Some(cluster_liveness) = liveness.get_mut(id) {
                        cluster_liveness.unwritten = true;
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sweeps and flushes until it is dropped.
    pub async fn keep(&self, store: &Store) {
        let period = (self.offline_after / 4).min(Duration::from_secs(1));
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut flushed = Instant::now();
        loop {
            let waits = Instant::now();
            tick.tick().await;
            // A suspended machine or a stopped process: heartbeats wait in sockets that were not read.
            let stalled = waits.elapsed().saturating_sub(period);
            if stalled >= period {
                tracing::warn!(?stalled, "the service did not run for a while; no cluster is blamed for it");
                self.extend_deadlines(stalled);
            }
            let mut outcome = self.sweep(store).await;
            if outcome.is_ok() && flushed.elapsed() >= FLUSH {
                flushed = Instant::now();
                outcome = self.flush(store).await;
            }
            if let Err(error) = outcome {
                tracing::error!(%error, "heartbeats could not be written");
            }
        }
    }
}

impl Liveness {
    fn new(cluster: &Cluster, digest: [u8; 32]) -> Self {
        Self {
            digest,
            administrative: cluster.administrative,
            observed: cluster.observed,
            reported: cluster.observed,
            version: cluster.version.clone(),
            last_seen: Instant::now(),
            last_ms: cluster.last_heartbeat_at_ms,
            unwritten: false,
            order: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_control_domain::cluster::Placement;
    use portcullis_identity::ids::TenantId;

    fn cluster(observed: Observed) -> Cluster {
        Cluster {
            id: ClusterId::new("acme").unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            placement: Placement::OnPremises,
            region: None,
            state: portcullis_control_domain::cluster::effective(Administrative::Active, observed),
            observed,
            administrative: Administrative::Active,
            suspended_by: Vec::new(),
            version: None,
            created_at_ms: 0,
            last_heartbeat_at_ms: None,
        }
    }

    fn presence(observed: Observed, offline_after: Duration) -> Presence {
        Presence::new(vec![KnownCluster { cluster: cluster(observed), token_digest: [0; 32] }], offline_after)
    }

    #[test]
    fn an_answer_that_was_overtaken_changes_nothing() {
        let presence = presence(Observed::Pending, Duration::from_secs(90));
        let answer = |observed, order| Observation { clusters: vec![cluster(observed)], order };
        presence.observed(&answer(Observed::Offline, 2));
        presence.observed(&answer(Observed::Online, 1));
        let id = ClusterId::new("acme").unwrap();
        assert_eq!(presence.lock()[&id].observed, Observed::Offline);
    }

    #[test]
    fn only_a_cluster_that_was_heard_of_can_fall_silent() {
        assert_eq!(presence(Observed::Pending, Duration::ZERO).overdue(), []);
        assert_eq!(presence(Observed::Online, Duration::from_secs(90)).overdue(), []);
        let stalled = presence(Observed::Online, Duration::from_secs(20));
        stalled
            .lock()
            .values_mut()
            .for_each(|cluster_liveness| cluster_liveness.last_seen -= Duration::from_secs(30));
        assert_eq!(stalled.overdue().len(), 1);
        stalled.extend_deadlines(Duration::from_secs(30));
        assert_eq!(stalled.overdue(), [], "the service was silent, not the cluster");
        let silent = presence(Observed::Online, Duration::ZERO).overdue();
        assert_eq!(silent.iter().map(|h| h.observed).collect::<Vec<_>>(), [Observed::Offline]);
    }
}
