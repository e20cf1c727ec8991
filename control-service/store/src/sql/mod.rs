//! The store on SQLite or PostgreSQL. Each statement is written once and runs on both.

mod admins;
mod audit;
mod backup;
mod check;
mod clients;
mod clusters;
mod copy;
mod failure;
mod follower;
mod keys;
mod leader;
mod location;
mod news;
mod pauses;
mod policy;
mod readers;
mod recovery;
mod replicas;
mod revocations;
mod rotate;
mod schema;
mod sealed;
mod secrets;
mod signing;
mod sqlite;
mod tables;
mod transaction;
mod wishes;
mod words;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::recovery::Recovery;
use portcullis_control_snapshot::{Freshness, Hub, Settings};
use portcullis_model::outage::Outage;
use portcullis_protocol::wire::{Page, RecordKind};
use portcullis_sql::{Connection, params};
use tokio::sync::watch;

use crate::StoreError;
use crate::notices::Notices;
use crate::seal::SealingKey;
use crate::usage::Usage;
use audit::Recorder;
pub use backup::{Backup, BackupError, create as create_backup};
pub use check::Checked;
pub use copy::Copied;
use failure::Failure;
use follower::{BEHIND_AFTER, Follower};
use leader::Leader;
pub use leader::Term;
pub use location::Location;
use news::Followed;
use readers::Readers;
pub use recovery::recovery;
pub use replicas::{LEASE, Replica, ReplicaId, ReplicaWorkers};
pub use schema::Migrated;
pub use secrets::Secrets;
use transaction::Transaction;
pub use wishes::{KeyWish, WishState};
use writer::{Writer, Written};

/// How often it is tried whether a database that took nothing takes something again.
const RETRY: Duration = Duration::from_secs(1);

/// An opened database, before it is served: enough for the commands that work on it directly.
pub struct Database {
    location: Location,
    connection: Connection,
    secrets: Secrets,
    sealing: SealingKey,
    recorder: Arc<Recorder>,
}

impl Database {
    /// Opens the database of a location, which may be served meanwhile; makes folder, file, tables and secrets when they
    /// are absent.
    ///
    /// # Errors
    /// [`StoreError`] with what is wrong and what to do.
    pub fn open(location: &Location) -> Result<Self, StoreError> {
        let connection = location.connect()?;
        schema::make(&connection)?;
        Self::opened(location, connection)
    }

    /// The same for the process that is going to serve it: it has its place from here on, and an older database is brought
    /// up to date. The folder's lock is the caller's.
    ///
    /// # Errors
    /// As of [`Self::open`], and [`StoreError::Served`].
    pub fn open_to_serve(location: &Location) -> Result<Self, StoreError> {
        let connection = location.connect()?;
        if location.alone_if(&connection, schema::is_old)? {
            let Migrated { from, to } = schema::migrate(&connection)?;
            tracing::info!(from, to, "the schema of the database is brought up to date");
            location.serve(&connection)?;
            location.not_alone(&connection)?;
        } else {
            schema::make(&connection)?;
            location.serve(&connection)?;
        }
        Self::opened(location, connection)
    }

    /// Brings the schema up to date, or makes it, and converts what is stored. The folder's lock is the caller's.
    ///
    /// # Errors
    /// [`StoreError::Served`], [`StoreError::Newer`], or the database fails; nothing is changed then.
    pub fn migrate(location: &Location) -> Result<Migrated, StoreError> {
        let connection = location.connect()?;
        location.alone(&connection)?;
        let migrated = schema::migrate(&connection)?;
        // What there was before may have to be opened, and sealed anew.
        if migrated.from > 0 && !audit::is_converted(&connection)? {
            Self::opened(location, connection)?;
        }
        Ok(migrated)
    }

    fn opened(location: &Location, connection: Connection) -> Result<Self, StoreError> {
        let sealed = sealed::any(&connection)?;
        let key = SealingKey::load(location.sealing_key(), !sealed)?;
        let secrets = Secrets::load_or_make(&connection, &key)?;
        let recorder = connection.exclusively(|| Recorder::load_or_make(&connection, &key))?;
        let recorder = Arc::new(recorder);
        audit::convert(&connection, &recorder)?;
        Ok(Self { location: location.clone(), connection, secrets, sealing: key, recorder })
    }

    /// All entries of some kinds of the snapshot, as one page of a gateway's view; `None` of a location that was never
    /// served from. Nothing is written, and nothing made.
    ///
    /// # Errors
    /// [`StoreError`] when there is a database and it cannot be read.
    pub fn read_excerpt(location: &Location, kinds: &[RecordKind]) -> Result<Option<Page>, StoreError> {
        let Some(connection) = location.connect_to_look()? else { return Ok(None) };
        schema::expect_current(&connection)?;
        let key = SealingKey::load(location.sealing_key(), false)?;
        let state = connection.at_one_moment(|| policy::load_state(&connection, &key))?;
        Ok(Some(state.excerpt(kinds)))
    }

    /// The opened secrets.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The snapshot as it is at one moment.
    fn load(&self) -> Result<Hub, Failure> {
        let shared = self.location.is_shared();
        let freshness = if shared { Freshness::within(BEHIND_AFTER) } else { Freshness::always() };
        let (connection, seed) = (&self.connection, self.secrets.snapshot_seed.clone());
        connection.at_one_moment(|| {
            let state = policy::load_state(connection, &self.sealing)?;
            let generation = transaction::life(connection)?.generation;
            Ok(Hub::new(state, generation, seed, freshness))
        })
    }

    /// Runs one write outside of the service, in a transaction of its own.
    fn write<T>(
        &mut self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut transaction = Transaction::begin(&self.connection, &self.sealing, &self.recorder)?;
        let outcome = job(&mut transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }
}

/// The store of a running service.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    up: Arc<AtomicBool>,
    readers: Readers,
    /// Where there is nobody else who writes, there is nobody to follow.
    follower: Option<Arc<Follower>>,
    /// For what no other process writes.
    beside: Readers,
    /// Which of the processes that serve the database this one is.
    replica: ReplicaId,
    leader: Arc<Leader>,
    hub: Arc<Hub>,
    observations: Arc<AtomicU64>,
    sealing: Arc<SealingKey>,
    settings: Arc<Settings>,
    recorder: Arc<Recorder>,
    usage: Arc<Usage>,
    notices: Arc<Notices>,
    recovery: Arc<watch::Sender<Option<Recovery>>>,
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
        database.secrets = Secrets::load_or_make(&database.connection, &database.sealing)?;
        let leader = Arc::new(Leader::start(&database.location, &database.connection)?);
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
        let replica = ReplicaId::generate();
        let recovery = Arc::new(watch::Sender::new(recovery::under_way(&database.connection)?));
        let (sealing, settings) = (Arc::new(database.sealing), Arc::new(settings));
        let followed = Followed { hub: Arc::clone(&hub), sealing: Arc::clone(&sealing) };
        let location = database.location;
        let follower = location.is_shared().then(|| Follower::start(location.clone(), followed.clone()));
        let follower = follower.transpose()?.map(Arc::new);
        let writer = Writer::start(Written {
            location,
            connection: database.connection,
            followed,
            recorder: Arc::clone(&database.recorder),
            outage: Outage::default(),
            up: Arc::clone(&up),
        })?;
        let recorder = database.recorder;
        let (observations, usage, notices) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self {
            writer,
            up,
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
        })
    }

    /// The snapshot.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
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
