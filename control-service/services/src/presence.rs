//! Heartbeats of data clusters.
//!
//! A cluster may report to any replica. Most heartbeats change nothing and only move a time in memory; what changes a
//! state is written at once, times every few seconds. What a replica remembers of a cluster is good for as long as the
//! snapshot has nothing newer of it, and whoever writes times sees whether a state was written over meanwhile. That a
//! cluster fell silent is the leader's to say, by the times that all replicas have written.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_control_domain::cluster::{Administrative, Cluster, Heartbeat, KnownCluster, Observation};
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_control_domain::signal::{Rules, SignalValue};
use portcullis_control_store::{Store, StoreError, Term};
use portcullis_identity::ids::ClusterId;
use portcullis_model::decision::ClusterState;
use subtle::ConstantTimeEq;

/// Clusters written in one go, so that other writes get their turn.
const CHUNK: usize = 500;
/// How often heartbeat times are written down, at the latest.
const FLUSH: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Liveness {
    digest: [u8; 32],
    administrative: Administrative,
    state: ClusterState,
    /// What its heartbeats said last, as the database has it.
    said: Option<SignalValue>,
    /// Whether it may have got better meanwhile, which the database says.
    is_held_back: bool,
    version: Option<String>,
    /// The snapshot's revision as of which that is so.
    as_of: u64,
    /// The order of the last write of this replica that it comes from.
    order: u64,
    /// What was reported here last, and when.
    heard: Option<(SignalValue, Instant)>,
    unwritten: bool,
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
    rules: Rules,
}

impl Presence {
    /// Begins with the clusters of the store, as they were at a revision of the snapshot.
    #[must_use]
    pub fn new(known: Vec<KnownCluster>, as_of: u64, offline_after: Duration, rules: Rules) -> Self {
        let of = |known: KnownCluster| (known.cluster.id.clone(), Liveness::new(known, as_of, &rules));
        let liveness = known.into_iter().map(of).collect();
        Self { liveness: Mutex::new(liveness), offline_after, rules }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterId, Liveness>> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds after which a cluster should report again: three fit into the time-out.
    #[must_use]
    pub fn interval_s(&self) -> u64 {
        (self.offline_after.as_secs() / 3).max(1)
    }

    /// How often times are written.
    fn flush_every(&self) -> Duration {
        FLUSH.min(self.offline_after / 4)
    }

    /// How long nothing must have been heard of a cluster before it is offline: where other replicas hear of it as well,
    /// what they heard last may not be written yet.
    fn silence(&self, store: &Store) -> Duration {
        self.offline_after + if store.is_shared() { self.flush_every() * 2 } else { Duration::ZERO }
    }

    /// Whether the token is this cluster's.
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
        self.look_up(store, id).await?;
        Ok(self.lock().get(id).is_some_and(|known| known.is_token(digest)))
    }

    /// Sees to it that what is remembered of a cluster is what the snapshot has, or newer: it may have been registered,
    /// changed or retired at any replica.
    async fn look_up(&self, store: &Store, id: &ClusterId) -> Result<(), StoreError> {
        let newest = store.hub().cluster_revision(id);
        if self.lock().get(id).is_some_and(|known| newest.is_none_or(|newest| newest <= known.as_of)) {
            return Ok(());
        }
        self.read_anew(store, id).await
    }

    async fn read_anew(&self, store: &Store, id: &ClusterId) -> Result<(), StoreError> {
        let as_of = store.hub().revision();
        let Some(found) = store.known_cluster(id.clone()).await? else { return Ok(()) };
        let found = Liveness::new(found, as_of, &self.rules);
        let mut liveness = self.lock();
        match liveness.get_mut(id) {
            Some(known) if known.as_of > as_of => {}
            Some(known) => {
                let (heard, unwritten, order) = (known.heard, known.unwritten, known.order);
                *known = Liveness { heard, unwritten, order, ..found };
            }
            None => drop(liveness.insert(id.clone(), found)),
        }
        Ok(())
    }

    /// Takes over what was written; the answer to an older write that comes late changes nothing.
    fn observed(&self, observation: &Observation) {
        let mut liveness = self.lock();
        for cluster in &observation.clusters {
            let newer = |known: &&mut Liveness| {
                known.order < observation.order && known.as_of <= observation.revision
            };
            if let Some(known) = liveness.get_mut(&cluster.id).filter(newer) {
                known.take(cluster, &self.rules);
                known.as_of = observation.revision;
                known.order = observation.order;
            }
        }
    }

    /// Takes a heartbeat by this token, or by a certificate that was looked at; returns the cluster's state as filters
    /// enforce it.
    ///
    /// # Errors
    /// [`HeartbeatError`] when token or cluster is not right, or the store fails or may lack what is known elsewhere.
    pub async fn heartbeat(
        &self,
        store: &Store,
        id: ClusterId,
        digest: Option<[u8; 32]>,
        reported: SignalValue,
        version: Option<String>,
    ) -> Result<ClusterState, HeartbeatError> {
        let arrived = Instant::now();
        store.check_fresh()?;
        self.look_up(store, &id).await?;
        let mut known = self.hear(&id, digest, reported, version.as_deref())?;
        if known.is_some() && store.is_shared() {
            // Another replica may just have written something else: what is remembered counts when it is certain to be
            // no older than the heartbeat. Of a cluster that nobody reaches the snapshot does not tell what it reports.
            store.hub().freshness().has_all_of(arrived).await.map_err(StoreError::from)?;
            match known {
                Some(ClusterState::Online | ClusterState::Degraded) => self.look_up(store, &id).await?,
                _ => self.read_anew(store, &id).await?,
            }
            known = self.hear(&id, digest, reported, version.as_deref())?;
        }
        if let Some(state) = known {
            return Ok(state);
        }
        let observation = store.observe(vec![Heartbeat { id: id.clone(), said: reported, version }]).await?;
        self.observed(&observation);
        if let Some(known) = self.lock().get_mut(&id) {
            known.heard = Some((reported, arrived));
        }
        observation.clusters.first().map(|cluster| cluster.state).ok_or(HeartbeatError::Token)
    }

    /// Takes note of a heartbeat that says what is known already, and returns the cluster's state. One that says something
    /// else counts once it is written: who was told that it failed may have reported otherwise elsewhere by then.
    fn hear(
        &self,
        id: &ClusterId,
        digest: Option<[u8; 32]>,
        reported: SignalValue,
        version: Option<&str>,
    ) -> Result<Option<ClusterState>, HeartbeatError> {
        let mut liveness = self.lock();
        let known = liveness.get_mut(id);
        let known = known.filter(|known| digest.is_none_or(|digest| known.is_token(digest)));
        let known = known.ok_or(HeartbeatError::Token)?;
        if known.administrative == Administrative::Retired {
            return Err(HeartbeatError::Retired);
        }
        let is_new = known.said != Some(reported) || known.is_held_back;
        if is_new || (version.is_some() && known.version.as_deref() != version) {
            return Ok(None);
        }
        known.heard = Some((reported, Instant::now()));
        known.unwritten = true;
        Ok(Some(known.state))
    }

    /// Looks once, as the leader, for clusters that fell silent; false when this was not the time for it.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; the next sweep tries again.
    async fn sweep(&self, store: &Store, term: Term) -> Result<bool, StoreError> {
        let silence = self.silence(store);
        // Where the database's clock was set, nobody led, or this process did not run, a silence is none before its whole
        // time has passed anew: heartbeats wait in sockets that were not read.
        if !term.has_watched_for(silence) {
            return Ok(false);
        }
        let mut silent = store.silent_clusters(silence, CHUNK).await?;
        silent.retain(|cluster| !self.was_heard_within(&cluster.id, silence));
        if silent.is_empty() {
            return Ok(true);
        }
        for cluster in store.fell_silent(term, silent).await? {
            tracing::info!(cluster = %cluster.id, state = cluster.state.as_str(), "cluster state changed");
        }
        Ok(true)
    }

    /// What this replica heard and has not written yet.
    fn was_heard_within(&self, id: &ClusterId, time: Duration) -> bool {
        self.lock().get(id).is_some_and(|known| known.heard.is_some_and(|(_, at)| at.elapsed() < time))
    }

    /// Writes down the times of heartbeats, and puts right what was written over by an older word; false when there was
    /// nothing to write.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; what was not written is written next time.
    pub async fn flush(&self, store: &Store) -> Result<bool, StoreError> {
        let mut heard: Vec<_> = {
            let mut liveness = self.lock();
            let take = |(id, known): (&ClusterId, &mut Liveness)| {
                let unwritten = std::mem::take(&mut known.unwritten);
                known.heard.filter(|_| unwritten).map(|(reported, at)| (id.clone(), reported, at))
            };
            liveness.iter_mut().filter_map(take).collect()
        };
        // Those that stand side by side on the database's pages are written together.
        heard.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        for (done, chunk) in heard.chunks(CHUNK).enumerate() {
            if let Err(error) = self.flush_chunk(store, chunk).await {
                let mut liveness = self.lock();
                for (id, ..) in heard.iter().skip(done * CHUNK) {
                    if let Some(known) = liveness.get_mut(id) {
                        known.unwritten = true;
                    }
                }
                return Err(error);
            }
        }
        Ok(!heard.is_empty())
    }

    async fn flush_chunk(
        &self,
        store: &Store,
        chunk: &[(ClusterId, SignalValue, Instant)],
    ) -> Result<(), StoreError> {
        let observation = store.note_times(chunk.to_vec()).await?;
        self.observed(&observation);
        for cluster in observation.clusters {
            tracing::info!(cluster = %cluster.id, state = cluster.state.as_str(), "cluster state put right");
        }
        Ok(())
    }

    /// Sweeps while this replica leads, and flushes, until it is dropped.
    pub async fn keep(&self, store: &Store) {
        let mut outage = OutageLog::new("heartbeats could not be written", "heartbeats are written again");
        let mut tick = tokio::time::interval((self.offline_after / 4).min(Duration::from_secs(1)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut flushed = Instant::now();
        loop {
            tick.tick().await;
            match self.round(store, &mut flushed).await {
                Ok(true) => outage.worked(),
                // Nothing was asked of the database, so nothing is known of it.
                Ok(false) => {}
                Err(StoreError::Superseded) => tracing::info!("another replica looks after the clusters now"),
                Err(error) => outage.failed(&error),
            }
        }
    }

    async fn round(&self, store: &Store, flushed: &mut Instant) -> Result<bool, StoreError> {
        let mut asked = match store.term() {
            Some(term) => self.sweep(store, term).await?,
            None => false,
        };
        if flushed.elapsed() >= self.flush_every() {
            *flushed = Instant::now();
            asked |= self.flush(store).await?;
        }
        Ok(asked)
    }
}

impl Liveness {
    fn new(known: KnownCluster, as_of: u64, rules: &Rules) -> Self {
        let KnownCluster { cluster, token_digest } = known;
        let mut liveness = Self {
            digest: token_digest,
            administrative: cluster.administrative,
            state: cluster.state,
            said: None,
            is_held_back: false,
            version: None,
            as_of,
            order: 0,
            heard: None,
            unwritten: false,
        };
        liveness.take(&cluster, rules);
        liveness
    }

    /// As the database has it now.
    fn take(&mut self, cluster: &Cluster, rules: &Rules) {
        self.administrative = cluster.administrative;
        self.state = cluster.state;
        self.said = cluster.signals.heartbeat.as_ref().map(|said| said.value);
        self.is_held_back = cluster.is_held_back(rules);
        self.version.clone_from(&cluster.version);
    }

    fn is_token(&self, digest: [u8; 32]) -> bool {
        bool::from(self.digest.ct_eq(&digest))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_control_domain::cluster::{NewCluster, Placement};
    use portcullis_control_domain::signal::SignalName;
    use portcullis_identity::ids::TenantId;

    use super::*;

    /// A cluster whose heartbeat has said this.
    fn cluster(said: Option<SignalValue>) -> Cluster {
        let tenant = TenantId::new("acme").unwrap();
        let new = NewCluster { id: id(), tenant, placement: Placement::OnPremises, region: None };
        let mut cluster = Cluster::registered(new, 0);
        if let Some(said) = said {
            cluster.observe(Heartbeat { id: id(), said, version: None }, 1);
            cluster.judge(SignalName::Heartbeat, &Rules::default(), 1);
        }
        cluster
    }

    fn id() -> ClusterId {
        ClusterId::new("acme").unwrap()
    }

    fn presence(said: Option<SignalValue>) -> Presence {
        let known = KnownCluster { cluster: cluster(said), token_digest: [0; 32] };
        Presence::new(vec![known], 7, Duration::from_secs(90), Rules::default())
    }

    #[test]
    fn an_answer_that_was_overtaken_changes_nothing() {
        let presence = presence(None);
        let answer =
            |said, order, revision| Observation { clusters: vec![cluster(Some(said))], revision, order };
        presence.observed(&answer(SignalValue::Degraded, 2, 8));
        presence.observed(&answer(SignalValue::Good, 1, 8));
        assert_eq!(presence.lock()[&id()].said, Some(SignalValue::Degraded));
        presence.observed(&answer(SignalValue::Good, 3, 6));
        let said = presence.lock()[&id()].said;
        assert_eq!(said, Some(SignalValue::Degraded), "the snapshot knew more already");
    }

    #[test]
    fn a_heartbeat_that_says_something_new_counts_once_it_is_written() {
        let presence = presence(Some(SignalValue::Good));
        let hear = |reported| presence.hear(&id(), Some([0; 32]), reported, None).unwrap();
        let was_heard = || presence.was_heard_within(&id(), Duration::from_secs(60));
        assert!(hear(SignalValue::Degraded).is_none() && !was_heard());
        assert!(hear(SignalValue::Good).is_some() && was_heard());
    }
}
