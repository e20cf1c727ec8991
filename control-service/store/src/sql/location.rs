//! Where the database is, and how it is reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_sql::{Connection, Server, params};

use super::failure::Failure;
use super::life::life;
use super::schema;
use crate::StoreError;
use crate::folder::Elsewhere;

/// Everybody who serves the database holds this advisory lock for as long as it is connected, shared with the others. Who
/// needs the database for itself takes it alone.
const SERVING: i64 = 5_762_481_078;

/// How long the one who has the database for itself may take to leave.
const HANDOVER: Duration = Duration::from_secs(5);

/// How long the database may take to answer. One that hangs without breaking off must not hold up callers for ever.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Where a database is.
#[derive(Debug, Clone)]
pub enum Location {
    /// A folder of this service's own, with an SQLite file in it.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Where the sealing key comes from.
        sealing_key: SealingKeySource,
    },
    /// A PostgreSQL server. The sealing key is never there.
    Server {
        /// The server.
        server: Arc<Server>,
        /// The folder of this service's own, which says that the database is elsewhere.
        folder: PathBuf,
        /// Where the sealing key comes from.
        sealing_key: SealingKeySource,
    },
}

impl Location {
    /// Where the sealing key comes from.
    pub(super) fn sealing_key(&self) -> &SealingKeySource {
        match self {
            Self::Folder { sealing_key, .. } | Self::Server { sealing_key, .. } => sealing_key,
        }
    }

    /// A folder with the file and the sealing key in it.
    #[must_use]
    pub fn folder(folder: &Path) -> Self {
        let sealing_key = SealingKeySource::File(folder.join("sealing.key"));
        Self::Folder { folder: folder.to_owned(), sealing_key }
    }

    /// Why a caller is not kept waiting any longer: the database did not answer in time.
    pub(super) fn silent(&self) -> StoreError {
        let told = format!("no answer within {} s; what was asked for may still be done", PATIENCE.as_secs());
        match self {
            Self::Folder { .. } => StoreError::Database(told),
            Self::Server { .. } => StoreError::Disconnected(["the database server gave ", &told].concat()),
        }
    }

    /// Which database it is, for the log.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "sqlite",
            Self::Server { .. } => "postgresql",
        }
    }

    /// True of a database that several processes may serve side by side.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Server { .. })
    }

    /// Takes a place among those who serve a database of a server, for as long as the connection lasts; whoever has the
    /// folder of a file holds a lock on it already. Who has the database for itself may be about to leave, so it is
    /// waited for a moment.
    pub(super) fn serve(&self, connection: &Connection) -> Result<(), Failure> {
        if self.is_shared() && !lock(connection, "SELECT pg_try_advisory_lock_shared(?1)")? {
            return Err(StoreError::Served.into());
        }
        // Who had it before may have changed the tables.
        schema::expect_current(connection)
    }

    /// Sees to it that nobody serves the database, and that nobody begins to, until [`Self::not_alone`] or the end of the
    /// connection.
    pub(super) fn alone(&self, connection: &Connection) -> Result<(), Failure> {
        if self.is_shared() && !lock(connection, "SELECT pg_try_advisory_lock(?1)")? {
            return Err(StoreError::Shared.into());
        }
        Ok(())
    }

    /// The same where it is needed; false where it is not, or not any more: of several that are started at once, one does
    /// what is to be done alone.
    pub(super) fn alone_if(
        &self,
        connection: &Connection,
        needed: impl Fn(&Connection) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        if !needed(connection)? {
            return Ok(false);
        }
        match self.alone(connection) {
            Err(_) if !needed(connection)? => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Ends [`Self::alone`].
    pub(super) fn not_alone(&self, connection: &Connection) -> Result<(), Failure> {
        if self.is_shared() {
            connection
                .query_one("SELECT pg_advisory_unlock(?1)", params![SERVING], |row| row.get::<bool>(0))?;
        }
        Ok(())
    }

    /// Has the folder of a service whose database is on a server say so.
    pub(super) fn remember(&self, generation: [u8; 16]) -> Result<(), StoreError> {
        let Self::Server { folder, .. } = self else { return Ok(()) };
        let (before, now) = (Elsewhere::read(folder)?, Elsewhere::new(generation, false));
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        if before.is_some_and(|before| before.generation != now.generation) {
            tracing::warn!("the database of DATABASE_URL is not the one that this service had before");
        }
        now.write(folder)
    }
}

/// Tries to get a lock for as long as its holders may take to leave; false when they stay.
fn lock(connection: &Connection, sql: &str) -> Result<bool, Failure> {
    let begun = Instant::now();
    loop {
        if connection.query_one(sql, params![SERVING], |row| row.get(0))? {
            return Ok(true);
        }
        if begun.elapsed() > HANDOVER {
            return Ok(false);
        }
        std::thread::sleep(HANDOVER / 50);
    }
}

/// True of a database in which no store's life has begun.
pub(super) fn never_served(connection: &Connection) -> Result<bool, Failure> {
    Ok(schema::is_empty(connection)? || life(connection)?.generation == [0; 16])
}
