//! Connections: the writer's, and a few readers beside it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::Failure;
use crate::StoreError;

/// Idle reader connections that are kept.
const READERS: usize = 4;

/// Opens a connection with the settings that durability rests on. A new file is its owner's alone, and
/// SQLite gives the files beside it the same mode.
pub(super) fn connect(path: &Path) -> Result<Connection, ConnectError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file?;
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a database that is only looked at. Without a log beside it nobody is writing, and SQLite is told so: it would
/// make files of its own otherwise.
pub(super) fn read_only(path: &Path) -> Result<Connection, Failure> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if Path::new(&log).exists() {
        Connection::open_with_flags(path, flags)?
    } else {
        let path = form_urlencoded::byte_serialize(path.as_os_str().as_encoded_bytes()).collect::<String>();
        let uri = ["file:", &path.replace('+', "%20"), "?mode=ro&immutable=1"].concat();
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    // What the log holds is not ours to write back.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}

/// Why a database file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error("portcullis.db: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Read-only connections, opened when they are needed.
#[derive(Clone)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Arc::default() }
    }

    /// Runs a query on a thread where it may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => readers.connect()?,
            };
            let outcome = query(&connection);
            let mut idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < READERS {
                idle.push(connection);
            }
            outcome
        });
        let outcome = task.await.map_err(|e| StoreError::Database(format!("a query was cut off: {e}")))?;
        outcome.map_err(StoreError::from)
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(connection)
    }
}
