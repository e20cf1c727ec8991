//! The store on SQLite or PostgreSQL. Each statement is written once and runs on both.

mod admins;
mod audit;
mod audit_log;
mod clients;
mod clusters;
mod failure;
mod keys;
mod location;
mod policy;
mod readers;
mod revocations;
mod schema;
mod sealed;
mod secrets;
mod signing;
mod sqlite;
mod transaction;
mod words;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use portcullis_control_domain::random::random;
use portcullis_control_snapshot::{Hub, Settings};
use portcullis_protocol::wire::{Page, RecordKind};
use portcullis_sql::Connection;

use crate::StoreError;
use crate::notices::Notices;
use crate::seal::SealingKey;
use crate::usage::Usage;
use failure::Failure;
pub use location::Location;
use readers::Readers;
pub use secrets::Secrets;
use transaction::Transaction;
use writer::{Writer, Written};

/// An opened database, before it is served: enough for the commands that work on it directly.
pub struct Database {
    location: Location,
    connection: Connection,
    secrets: Secrets,
    sealing: SealingKey,
}

impl Database {
    /// Opens the database of a location; makes folder, file, tables and secrets when they are absent.
    ///
    /// # Errors
    /// [`StoreError`] with what is wrong and what to do.
    pub fn open(location: &Location) -> Result<Self, StoreError> {
        let connection = location.connect()?;
        schema::migrate(&connection)?;
        let sealed = sealed::any(&connection)?;
        let key = SealingKey::load(location.sealing_key(), !sealed)?;
        let secrets = Secrets::load_or_make(&connection, &key)?;
        Ok(Self { location: location.clone(), connection, secrets, sealing: key })
    }

    /// All entries of some kinds of the snapshot, as one page of a gateway's view; `None` of a location that was never
    /// served from. Nothing is written, and nothing made.
    ///
    /// # Errors
    /// [`StoreError`] when there is a database and it cannot be read, or it holds the digest of another secret than the
    /// settings: the running service has not taken them over yet.
    pub fn read_excerpt(
        location: &Location,
        settings: &Settings,
        kinds: &[RecordKind],
    ) -> Result<Option<Page>, StoreError> {
        let connection = match location.file() {
            Some(file) if !file.is_file() => return Ok(None),
            Some(file) => sqlite::read_only(&file).map_err(Failure::from)?,
            None => location.connect_to_read()?,
        };
        if schema::is_empty(&connection)? {
            return Ok(None);
        }
        let key = SealingKey::load(location.sealing_key(), false)?;
        let secrets = Secrets::load(&connection, &key)?;
        let state = policy::load_state(&connection, &secrets.entries(settings))?;
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

    /// Runs one write outside of the service, in a transaction of its own.
    fn write<T>(
        &mut self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut transaction = Transaction::begin(&self.connection, random())?;
        let outcome = job(&mut transaction)?;
        transaction.commit()?;
        Ok(outcome)
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
    usage: Arc<Usage>,
    notices: Arc<Notices>,
}

impl Store {
    /// Begins to serve a database: brings the entries that follow from secrets and settings up to date,
    /// loads the snapshot and starts the writer thread.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub fn start(mut database: Database, settings: Settings) -> Result<Self, StoreError> {
        database.location.serve(&database.connection)?;
        // Whoever served it until now may have changed them since it was opened.
        database.secrets = Secrets::load_or_make(&database.connection, &database.sealing)?;
        let entries = database.secrets.entries(&settings);
        database.write(|transaction| {
            entries.iter().try_for_each(|(kind, wanted)| transaction.sync(*kind, wanted))?;
            transaction.sync_revocation_digests()
        })?;
        let state = policy::load_state(&database.connection, &entries)?;
        let generation = transaction::life(&database.connection)?.generation;
        let hub = Arc::new(Hub::new(state, generation, database.secrets.snapshot_seed.clone()));
        let readers = Readers::new(database.location.clone());
        let (sealing, settings) = (Arc::new(database.sealing), Arc::new(settings));
        let writer = Writer::start(Written {
            location: database.location,
            connection: database.connection,
            hub: Arc::clone(&hub),
            sealing: Arc::clone(&sealing),
            settings: Arc::clone(&settings),
            control_stream: random(),
            failed: None,
        })?;
        let (observations, usage, notices) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { writer, readers, hub, observations, sealing, settings, usage, notices })
    }

    /// The snapshot.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Confirms that this process is the one that serves the database, and that the database is the one it was.
    ///
    /// # Errors
    /// [`StoreError::Served`] or [`StoreError::Unfit`] when that is over, or the database fails.
    pub async fn confirm(&self) -> Result<(), StoreError> {
        self.writer.run(|_| Ok(())).await
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
