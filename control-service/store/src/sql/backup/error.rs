//! Why a backup is not made, not good, or not restored.

use std::path::PathBuf;

use portcullis_control_domain::backup::FORMAT;
use portcullis_sql::SqlError;

use super::super::failure::Failure;
use crate::{SealError, StoreError};

/// Why a backup is not made, not good, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The name is taken.
    #[error("{0} is there already; a backup overwrites nothing, so choose another name")]
    Exists(PathBuf),
    /// Somebody is at it.
    #[error("{0} is being written by another process; wait until it has ended")]
    Busy(PathBuf),
    /// The file cannot be used.
    #[error("{path} cannot be used: {problem}; check its name, its permissions and the free space")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// There is nothing to save.
    #[error("there is no store yet: nothing was ever served from what store.dataDir or DATABASE_URL names")]
    NoStore,
    /// Something else.
    #[error("{path} is no backup of Portcullis: {problem}")]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A form that is not known.
    #[error("the backup has format {found}, this program reads up to {FORMAT}; run the newer program")]
    Format {
        /// Format found.
        found: u32,
    },
    /// It is not what was written.
    #[error("the backup {path} is damaged: {place}: {problem}; nothing was taken from it, use another copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// Another key.
    #[error(
        "the backup {path} was not made with this sealing key, or was changed after it was made: {problem}; give the key that the store had at that time"
    )]
    Seal {
        /// The file.
        path: PathBuf,
        /// What does not open.
        problem: SealError,
    },
    /// There is a store already.
    #[error(
        "{0} holds a store already; a backup is restored into an empty one only: name another folder or database, or move this one away"
    )]
    NotEmpty(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for BackupError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

impl From<SqlError> for BackupError {
    fn from(error: SqlError) -> Self {
        Failure::from(error).into()
    }
}
