//! Everything durable: clusters, keys, revocations, the snapshot's history and the audit log.
//!
//! Callers see [`Store`]: asynchronous methods in terms of the domain, none of SQL. Behind it stands
//! SQLite with one writer thread that commits what is waiting as one group, so that a durable write costs
//! a share of one `fsync`. Every change of the snapshot is written together with what caused it, and
//! published to the [`Hub`] only after its commit.

mod admins;
mod audit;
mod clients;
mod clusters;
mod keys;
mod policy;
mod revocations;
mod schema;
mod secrets;
mod signing;
mod sqlite;
mod transaction;
mod usage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use portcullis_control_domain::Refused;
use portcullis_control_domain::random::random;
use portcullis_control_snapshot::entries::EntryError;
use portcullis_control_snapshot::{Hub, Settings};
use portcullis_protocol::wire::{Page, RecordKind};
use rusqlite::Connection;

use crate::seal::{SealError, SealingKey};
pub use secrets::Secrets;
use sqlite::{Readers, Writer};
use transaction::Transaction;

/// Why the store could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Refused for a reason of the domain.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database failed.
    #[error("the database failed: {0}; check free space and permissions of store.dataDir")]
    Database(String),
    /// The data folder cannot be used.
    #[error(
        "store.dataDir {path} cannot be used: {problem}; see that it is a folder of its own that this user may write to, or restore it from a backup"
    )]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// Another process serves this folder.
    #[error("store.dataDir {0} is in use by another `portcullis serve`; stop that one first")]
    InUse(PathBuf),
    /// The database was written by a newer version.
    #[error("the database has schema version {found}, this program knows {known}; run the newer program")]
    Newer {
        /// Version found.
        found: usize,
        /// Newest version known.
        known: usize,
    },
    /// A secret cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An entry of the snapshot cannot be made.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// An opened database, before it is served: enough for the commands that work on the file.
pub struct Database {
    path: PathBuf,
    connection: Connection,
    secrets: Secrets,
    sealing: SealingKey,
}

impl Database {
    /// Opens the database of a data folder, makes folder, database and secrets when they are absent.
    ///
    /// # Errors
    /// [`StoreError`] with what is wrong and what to do.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let folder = |problem: std::io::Error| StoreError::DataDir {
            path: data_dir.to_owned(),
            problem: problem.to_string(),
        };
        if !data_dir.is_dir() {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(folder)?;
        }
        let path = data_dir.join("portcullis.db");
        let mut connection = sqlite::connect(&path)
            .map_err(|e| StoreError::DataDir { path: data_dir.to_owned(), problem: e.to_string() })?;
        schema::migrate(&mut connection)?;
        let sealed = secrets::any(&connection)?;
        let key = SealingKey::load(&data_dir.join("sealing.key"), !sealed)?;
        let secrets = Secrets::load_or_make(&mut connection, &key)?;
        Ok(Self { path, connection, secrets, sealing: key })
    }

    /// All entries of some kinds of the snapshot, as one page of a gateway's view; `None` of a folder that was never
    /// served from. Nothing is written, and nothing made.
    ///
    /// # Errors
    /// [`StoreError`] when there is a database and it cannot be read, or it holds the digest of another secret than the
    /// settings: the running service has not taken them over yet.
    pub fn read_excerpt(
        data_dir: &Path,
        settings: &Settings,
        kinds: &[RecordKind],
    ) -> Result<Option<Page>, StoreError> {
        let path = data_dir.join("portcullis.db");
        if !path.is_file() {
            return Ok(None);
        }
        let connection = sqlite::read_only(&path)?;
        let key = SealingKey::load(&data_dir.join("sealing.key"), false)?;
        let secrets = Secrets::load(&connection, &key)?;
        let state = policy::load_state(&connection, &secrets.entries(settings))?;
        Ok(Some(state.excerpt(kinds)))
    }

    /// The opened secrets.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs one write outside of the service, in a transaction of its own.
    fn write<T>(
        &mut self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut transaction = Transaction::begin(&self.connection, random())?;
        let outcome = job(&mut transaction);
        if outcome.is_ok() {
            transaction.commit()?;
        } else {
            transaction.abandon();
        }
        outcome
    }
}

/// The store of a running service.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    readers: Readers,
    hub: Arc<Hub>,
    observations: Arc<AtomicU64>,
    sealing: Arc<SealingKey>,
    settings: Arc<Settings>,
    usage: Arc<usage::Usage>,
    notices: Arc<audit::Notices>,
}

impl Store {
    /// Begins to serve a database: brings the entries that follow from secrets and settings up to date,
    /// loads the snapshot and starts the writer thread.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub fn start(mut database: Database, settings: Settings) -> Result<Self, StoreError> {
        let entries = database.secrets.entries(&settings);
        database.write(|transaction| {
            entries.iter().try_for_each(|(kind, wanted)| transaction.sync(*kind, wanted))?;
            transaction.sync_revocation_digests()
        })?;
        let state = policy::load_state(&database.connection, &entries)?;
        let generation = transaction::life(&database.connection)?.generation;
        let hub = Arc::new(Hub::new(state, generation, database.secrets.snapshot_seed.clone()));
        let readers = Readers::new(database.path.clone());
        let writer = Writer::start(database.connection, Arc::clone(&hub))?;
        let (sealing, settings) = (Arc::new(database.sealing), Arc::new(settings));
        let (observations, usage, notices) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { writer, readers, hub, observations, sealing, settings, usage, notices })
    }

    /// The snapshot.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// True while writes are possible.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.writer.is_open()
    }

    /// Ends the writer thread after everything that waits is written.
    pub async fn close(&self) {
        self.writer.close().await;
    }
}
