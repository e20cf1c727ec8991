//! Where the database is, and how it is reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_sql::{Connection, Server, params};

use super::failure::Failure;
use super::sqlite;
use crate::StoreError;

/// The oldest PostgreSQL that is taken, as `server_version_num` has it.
const OLDEST: i64 = 140_000;

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
        /// The file of the sealing key.
        sealing_key: PathBuf,
    },
    /// A PostgreSQL server. The sealing key is never there.
    Server {
        /// The server.
        server: Arc<Server>,
        /// The file of the sealing key.
        sealing_key: PathBuf,
    },
}

impl Location {
    /// The SQLite file, where there is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Folder { folder, .. } => Some(folder.join("portcullis.db")),
            Self::Server { .. } => None,
        }
    }

    /// The file of the sealing key.
    pub(super) fn sealing_key(&self) -> &Path {
        match self {
            Self::Folder { sealing_key, .. } | Self::Server { sealing_key, .. } => sealing_key,
        }
    }

    /// A folder with the file and the sealing key in it.
    #[must_use]
    pub fn folder(folder: &Path) -> Self {
        Self::Folder { folder: folder.to_owned(), sealing_key: folder.join("sealing.key") }
    }

    /// Why a caller is not kept waiting any longer: the database did not answer in time.
    pub(super) fn silent(&self) -> StoreError {
        let told = format!("no answer within {} s; what was asked for may still be done", PATIENCE.as_secs());
        match self {
            Self::Folder { .. } => StoreError::Database(told),
            Self::Server { .. } => StoreError::Disconnected(told),
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

    /// A connection that may write. Folders and the file are made where they are absent.
    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Folder { folder, .. } => {
                make_folder(folder)?;
                let file = folder.join("portcullis.db");
                let opened = sqlite::connect(&file).map_err(|e| StoreError::data_dir(folder, e))?;
                Ok(Connection::sqlite(opened))
            }
            Self::Server { server, sealing_key } => {
                sealing_key.parent().map_or(Ok(()), make_folder)?;
                Ok(reach(server)?)
            }
        }
    }

    /// A connection that may only read, to a database that is served.
    pub(super) fn connect_to_read(&self) -> Result<Connection, Failure> {
        match self {
            Self::Folder { folder, .. } => Ok(sqlite::connect_to_read(&folder.join("portcullis.db"))?),
            Self::Server { server, .. } => {
                let connection = reach(server)?;
                connection.batch("SET default_transaction_read_only = on")?;
                Ok(connection)
            }
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
        if matches!(self, Self::Folder { .. }) {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            let sql = "SELECT pg_try_advisory_lock_shared(?1)";
            if connection.query_one(sql, params![SERVING], |row| row.get(0))? {
                return Ok(());
            }
            if begun.elapsed() > HANDOVER {
                return Err(StoreError::Served.into());
            }
            std::thread::sleep(HANDOVER / 50);
        }
    }
}

/// A folder that is this user's alone.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.is_dir() {
        return Ok(());
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|problem| StoreError::data_dir(folder, problem))
}

/// Connects to a server that this program can use. A transaction of ours that hangs must not hold up everybody else, and
/// a session whose network is gone must not keep the lock of the one that serves.
fn reach(server: &Server) -> Result<Connection, Failure> {
    let connection = server.connect()?;
    let sql = "SELECT CAST(current_setting('server_version_num') AS BIGINT)";
    let version: i64 = connection.query_one(sql, params![], |row| row.get(0))?;
    if version < OLDEST {
        let told = format!(
            "the server of DATABASE_URL is PostgreSQL {}; PostgreSQL 14 or newer is needed",
            version / 10_000
        );
        return Err(StoreError::Unfit(told).into());
    }
    connection.batch(
        "SET synchronous_commit = on; SET lock_timeout = '10s'; SET statement_timeout = '60s';
         SET idle_in_transaction_session_timeout = '5s'; SET client_min_messages = warning;
         SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3;
         SET tcp_user_timeout = '5s'",
    )?;
    Ok(connection)
}
