//! The store while it is served: its parts, and its own life.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::histogram::{Histogram, Observed};
use portcullis_control_domain::limits::TenantLimits;
use portcullis_control_domain::recovery::Recovery;
use portcullis_control_domain::signal::Rules;
use portcullis_control_snapshot::{Hub, Settings};
use portcullis_sql::params;
use tokio::sync::watch;

use super::audit::Recorder;
use super::database::Database;
use super::follower::Follower;
use super::leader::Leader;
use super::news::Followed;
use super::readers::Readers;
use super::replica_id::ReplicaId;
use super::restoration::under_way;
use super::secrets::Secrets;
use super::transaction::Transaction;
use super::writer::{Writer, Written};
use crate::StoreError;
use crate::notices::Notices;
use crate::seal::SealingKey;
use crate::usage::Usage;

/// How often it is tried whether a database that took nothing takes something again.
const RETRY: Duration = Duration::from_secs(1);

/// The store of a running service.
#[derive(Clone)]
pub struct Store {
    pub(super) writer: Writer,
    pub(super) up: Arc<AtomicBool>,
    pub(super) commits: Arc<Histogram>,
    pub(super) readers: Readers,
    /// Where there is nobody else who writes, there is nobody to follow.
    pub(super) follower: Option<Arc<Follower>>,
    /// For what no other process writes.
    pub(super) beside: Readers,
    /// Which of the processes that serve the database this one is.
    pub(super) replica: ReplicaId,
    pub(super) leader: Arc<Leader>,
    pub(super) hub: Arc<Hub>,
    pub(super) observations: Arc<AtomicU64>,
    pub(super) sealing: Arc<SealingKey>,
    pub(super) settings: Arc<Settings>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) usage: Arc<Usage>,
    pub(super) notices: Arc<Notices>,
    pub(super) recovery: Arc<watch::Sender<Option<Recovery>>>,
    pub(super) limits: Arc<RwLock<TenantLimits>>,
    pub(super) rules: Arc<RwLock<Rules>>,
}

impl Store {
    /// Begins to serve a database: brings the entries that follow from secrets and settings up to date if this process
    /// leads, loads the snapshot, starts the writer thread, and the follower where others may write as well.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub fn start(mut database: Database, settings: Settings) -> Result<Self, StoreError> {
        database.location.serve(&database.connection)?;
        // Whoever served it until now may have changed them since it was opened.
        let sealing = &database.sealing;
        database.secrets = database.connection.exclusively(|begun| Secrets::load_or_make(begun, sealing))?;
        let replica = ReplicaId::generate();
        let leader = Leader::start(&database.location, &database.connection, &replica)?;
        let leader = Arc::new(leader);
        let entries = database.secrets.entries(&settings);
        // In any case this gives the store its life.
        database.write(|transaction| match leader.term() {
            Some(term) => transaction.is_led_by(term).and_then(|()| transaction.sync_settings(&entries)),
            None => Ok(()),
        })?;
        let hub = Arc::new(database.load()?);
        database.location.remember(hub.generation())?;
        let up = Arc::new(AtomicBool::new(true));
        let readers = Readers::new(database.location.clone(), Arc::clone(&up));
        let beside = Readers::that_write(database.location.clone(), Arc::clone(&up));
        let recovery = Arc::new(watch::Sender::new(under_way(&database.connection)?));
        let (sealing, settings) = (Arc::new(database.sealing), Arc::new(settings));
        let followed = Followed { hub: Arc::clone(&hub), sealing: Arc::clone(&sealing) };
        let location = database.location;
        let follower = location.is_shared().then(|| Follower::start(location.clone(), followed.clone()));
        let follower = follower.transpose()?.map(Arc::new);
        let commits = Arc::default();
        let writer = Writer::start(Written {
            location,
            connection: database.connection,
            followed,
            recorder: Arc::clone(&database.recorder),
            outage: Written::outage(),
            up: Arc::clone(&up),
            commits: Arc::clone(&commits),
        })?;
        let recorder = database.recorder;
        let (observations, usage, notices) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self {
            writer,
            up,
            commits,
            readers,
            beside,
            replica,
            follower,
            leader,
            hub,
            observations,
            sealing,
            settings,
            recorder,
            usage,
            notices,
            recovery,
            limits: Arc::default(),
            rules: Arc::default(),
        })
    }

    /// The snapshot.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Reads the sealing key again, before something is sealed by it: whoever has taken it away since must hear so from
    /// whoever needs it, and another process may have changed it. Not in the transaction, since a command takes its time.
    pub(super) async fn read_sealing_key(&self) -> Result<(), StoreError> {
        let sealing = Arc::clone(&self.sealing);
        let read = tokio::task::spawn_blocking(move || sealing.refresh()).await;
        Ok(read
            .map_err(|error| StoreError::Database(format!("the sealing key could not be read: {error}")))??)
    }

    /// The same before a policy is published, which must not wait for a key: it may close something. While the key cannot be
    /// read, those in memory seal. They do so only where they are the ones that the secrets there are sealed by.
    pub(super) async fn try_to_read_sealing_key(&self) {
        if let Err(error) = self.read_sealing_key().await {
            tracing::warn!(%error, "the sealing key cannot be read again; what was read last is used");
        }
    }

    /// What must be so before something is decided by the snapshot, or by what else is remembered of the database.
    ///
    /// # Errors
    /// [`StoreError::Recovering`] or [`StoreError::Behind`].
    pub fn check_fresh(&self) -> Result<(), StoreError> {
        if let Some(recovery) = self.recovery() {
            return Err(StoreError::Recovering(recovery.reason(now_ms())));
        }
        Ok(self.hub.freshness().check()?)
    }

    /// Waits until the database is not the one any more that it was.
    pub async fn until_unfit(&self) -> StoreError {
        match &self.follower {
            Some(follower) => follower.until_unfit().await,
            None => std::future::pending().await,
        }
    }

    /// True while the database can be used: it took what was written to it last, and could be read since.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// How long the database took to make groups of changes durable.
    #[must_use]
    pub fn commit_times(&self) -> Observed {
        self.commits.observed()
    }

    /// While the database takes nothing, tries again and again to write something, so that nobody has to ask for a change to
    /// find out that it does.
    pub async fn recover(&self) {
        loop {
            tokio::time::sleep(RETRY).await;
            if !self.is_up() {
                let touch = "UPDATE snapshot_life SET revision = revision";
                let write = move |transaction: &mut Transaction<'_>| {
                    transaction.connection().execute(touch, params![])?;
                    Ok(())
                };
                if let Err(error) = self.writer.run_bulk(write).await {
                    tracing::debug!(%error, "the database takes nothing yet");
                }
            }
        }
    }

    /// True until it is closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.writer.is_open()
    }

    /// Ends the writer thread after everything that waits is written.
    pub async fn close(&self) {
        self.leader.end();
        self.follower.iter().for_each(|follower| follower.end());
        self.writer.close().await;
    }
}
