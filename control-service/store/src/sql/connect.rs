//! The one way to the database.
//!
//! Whatever a connection is for, it is looked at first whether it leads to a server that can be used, and to the database
//! that belongs to this service. So it is with one that is made in the place of another that broke off: the address may
//! lead elsewhere by then.

use std::path::Path;

use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_sql::{Connection, params};

use super::failure::Failure;
use super::location::{Location, never_served};
use super::{schema, sqlite};
use crate::StoreError;
use crate::folder;

/// The oldest PostgreSQL that is taken, as `server_version_num` has it.
const OLDEST: i64 = 140_000;

/// A transaction of ours that hangs must not hold up everybody else, and a session whose network is gone must not keep the
/// lock of the one that serves.
const SESSION: &str = "SET synchronous_commit = on; SET lock_timeout = '10s'; SET statement_timeout = '60s';
    SET idle_in_transaction_session_timeout = '5s'; SET client_min_messages = warning;
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '5s'";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Writing. Folder and file are made where they are absent.
    Write,
    /// Reading, in the process that serves it.
    Read,
    /// Looking at it, whoever serves it. Nothing is made.
    Look,
    /// Reading all of it, whoever serves it, and however long that takes. Nothing is made.
    Check,
    /// Saving all of it, whoever serves it, and however long that takes.
    Save,
    /// Making it, however long that takes, and whatever was there before: the folder may remember one that is lost.
    Fill,
}

impl Purpose {
    fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Fill)
    }

    fn is_patient(self) -> bool {
        matches!(self, Self::Check | Self::Save | Self::Fill)
    }
}

/// Has there be a folder for the file of a sealing key.
fn make_place(sealing_key: &SealingKeySource) -> Result<(), StoreError> {
    match sealing_key {
        SealingKeySource::File(path) => path.parent().map_or(Ok(()), folder::make),
        SealingKeySource::Command(_) => Ok(()),
    }
}

impl Location {
    /// A connection for a purpose.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] when it is not where this service's database is; [`StoreError::Barred`] or
    /// [`StoreError::Disconnected`] when a server cannot be used; or what else is wrong.
    pub(super) fn connect(&self, purpose: Purpose) -> Result<Connection, Failure> {
        match self {
            Self::Folder { folder, .. } => {
                folder::expect_here(folder)?;
                open(folder, purpose)
            }
            Self::Server { server, folder, sealing_key } => {
                if purpose.writes() {
                    make_place(sealing_key)?;
                }
                let connection = server.connect()?;
                expect_supported(&connection)?;
                connection.batch(SESSION)?;
                if purpose != Purpose::Fill {
                    folder::expect_elsewhere(folder, never_served(&connection)?)?;
                }
                if !purpose.writes() {
                    connection.batch("SET default_transaction_read_only = on")?;
                }
                if purpose.is_patient() {
                    connection
                        .batch("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")?;
                }
                Ok(connection)
            }
        }
    }

    /// The same where there is a database; `None` where there is none yet.
    ///
    /// # Errors
    /// As of [`Self::connect`].
    pub(super) fn connect_if_there(&self, purpose: Purpose) -> Result<Option<Connection>, Failure> {
        if let Self::Folder { folder, .. } = self {
            folder::expect_here(folder)?;
            if !folder::database(folder).is_file() {
                return Ok(None);
            }
        }
        let connection = self.connect(purpose)?;
        Ok(if schema::is_empty(&connection)? { None } else { Some(connection) })
    }
}

/// Opens the file of a folder.
fn open(folder: &Path, purpose: Purpose) -> Result<Connection, Failure> {
    let file = folder::database(folder);
    Ok(match purpose {
        Purpose::Write | Purpose::Fill => {
            folder::make(folder)?;
            let opened = sqlite::connect(&file).map_err(|e| StoreError::data_dir(folder, e))?;
            Connection::sqlite(opened)
        }
        Purpose::Read => sqlite::connect_to_read(&file)?,
        Purpose::Look | Purpose::Check => sqlite::read_only(&file)?,
        Purpose::Save => sqlite::connect_to_save(&file)?,
    })
}

fn expect_supported(connection: &Connection) -> Result<(), Failure> {
    let sql = "SELECT CAST(current_setting('server_version_num') AS BIGINT)";
    let version: i64 = connection.query_one(sql, params![], |row| row.get(0))?;
    if version >= OLDEST {
        return Ok(());
    }
    let told = format!(
        "the server of DATABASE_URL is PostgreSQL {}; PostgreSQL {} or newer is needed",
        version / 10_000,
        OLDEST / 10_000
    );
    Err(StoreError::Unfit(told).into())
}
