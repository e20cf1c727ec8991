//! SQLite: how its file is opened.

use std::path::Path;
use std::time::Duration;

use portcullis_sql::{Connection, SqlError};
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use crate::folder::refused;

/// Opens a connection with the settings that durability rests on. A new file is its owner's alone, and
/// SQLite gives the files beside it the same mode.
pub(super) fn connect(path: &Path) -> Result<rusqlite::Connection, ConnectError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map_err(|error| ConnectError::File(refused(path, &error)))?;
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    // What is deleted, such as the key of a data subject, is written over.
    connection.pragma_update(None, "secure_delete", "ON")?;
    // Records of the audit log go to random places of its indexes: 64 MiB of them at hand, and as much written before it
    // is carried over, so that a page that changes often is carried once.
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a database that is only looked at. Without a log beside it nobody is writing, and SQLite is told so: it would
/// make files of its own otherwise.
pub(super) fn read_only(path: &Path) -> Result<Connection, SqlError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if Path::new(&log).exists() {
        rusqlite::Connection::open_with_flags(path, flags)?
    } else {
        let path = form_urlencoded::byte_serialize(path.as_os_str().as_encoded_bytes()).collect::<String>();
        let uri = ["file:", &path.replace('+', "%20"), "?mode=ro&immutable=1"].concat();
        rusqlite::Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    // What the log holds is not ours to write back.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(Connection::sqlite(connection))
}

/// A database that is nowhere, for looking at.
pub(super) fn in_memory() -> Result<Connection, SqlError> {
    Ok(Connection::sqlite(rusqlite::Connection::open_in_memory()?))
}

/// Opens a database that is there, whoever else uses it, to read all of it.
pub(super) fn connect_to_save(path: &Path) -> Result<Connection, SqlError> {
    // Not read-only: the files beside it may have to be made.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(Connection::sqlite(connection))
}

/// Opens a further connection to a database that this process serves.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, SqlError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(Connection::sqlite(connection))
}

/// Why a database file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    File(String),
    #[error("portcullis.db: {0}")]
    Sqlite(#[from] rusqlite::Error),
}
