//! The database on its own: opened by commands, or by the process that is going to serve it.

use std::sync::Arc;

use portcullis_control_snapshot::{Freshness, Hub};
use portcullis_protocol::wire::{Page, RecordKind};
use portcullis_sql::Connection;

use super::audit::{self, Recorder};
use super::connect::Purpose;
use super::failure::Failure;
use super::follower::BEHIND_AFTER;
use super::life::life;
use super::location::Location;
use super::schema::{self, Migrated};
use super::secrets::Secrets;
use super::transaction::Transaction;
use super::{sealed, snapshot};
use crate::StoreError;
use crate::seal::SealingKey;

/// An opened database, before it is served: enough for the commands that work on it directly.
pub struct Database {
    pub(super) location: Location,
    pub(super) connection: Connection,
    pub(super) secrets: Secrets,
    pub(super) sealing: SealingKey,
    pub(super) recorder: Arc<Recorder>,
}

impl Database {
    /// Opens the database of a location, which may be served meanwhile; makes folder, file, tables and secrets when they
    /// are absent.
    ///
    /// # Errors
    /// [`StoreError`] with what is wrong and what to do.
    pub fn open(location: &Location) -> Result<Self, StoreError> {
        let connection = location.connect(Purpose::Write)?;
        schema::make(&connection)?;
        Self::opened(location, connection)
    }

    /// The same for the process that is going to serve it: it has its place from here on, and an older database is brought
    /// up to date. The folder's lock is the caller's.
    ///
    /// # Errors
    /// As of [`Self::open`], and [`StoreError::Served`].
    pub fn open_to_serve(location: &Location) -> Result<Self, StoreError> {
        let connection = location.connect(Purpose::Write)?;
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
        let connection = location.connect(Purpose::Write)?;
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
        let (secrets, recorder) = connection.exclusively(|begun| {
            Ok::<_, Failure>((Secrets::load_or_make(begun, &key)?, Recorder::load_or_make(begun, &key)?))
        })?;
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
        let Some(connection) = location.connect_if_there(Purpose::Look)? else { return Ok(None) };
        schema::expect_current(&connection)?;
        let key = SealingKey::load(location.sealing_key(), false)?;
        let state = connection.at_one_moment(|| snapshot::load_state(&connection, &key))?;
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
    pub(super) fn load(&self) -> Result<Hub, Failure> {
        let shared = self.location.is_shared();
        let freshness = if shared { Freshness::within(BEHIND_AFTER) } else { Freshness::always() };
        let (connection, seed) = (&self.connection, self.secrets.snapshot_seed.clone());
        connection.at_one_moment(|| {
            let state = snapshot::load_state(connection, &self.sealing)?;
            let generation = life(connection)?.generation;
            Ok(Hub::new(state, generation, seed, freshness))
        })
    }

    /// Runs one write outside of the service, in a transaction of its own.
    pub(super) fn write<T>(
        &mut self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut transaction = Transaction::begin(&self.connection, &self.sealing, &self.recorder)?;
        let outcome = job(&mut transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }
}
