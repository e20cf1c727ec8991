//! Why the store could not do something.

use std::path::PathBuf;

use portcullis_control_domain::Refused;
use portcullis_control_domain::clock::rfc3339;
use portcullis_control_snapshot::Behind;
use portcullis_control_snapshot::entries::EntryError;

use crate::seal::SealError;

/// Why the store could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Refused for a reason of the domain.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database failed.
    #[error("the database failed: {0}; check free space and permissions of store.dataDir")]
    Database(String),
    /// The database takes nothing that is written to it.
    #[error("the database takes nothing: {0}; see that its disk has room and can be written to")]
    OutOfOrder(String),
    /// The database server refused.
    #[error("the database server refused: {0}")]
    Server(String),
    /// The database server is out of reach. Nothing was changed, unless the connection broke off during a commit.
    #[error("{0}")]
    Disconnected(String),
    /// The database server is there, and does not let this process in, or is not to be trusted, before somebody changes
    /// something.
    #[error("{0}")]
    Barred(String),
    /// The database server cannot be used.
    #[error("{0}")]
    Unfit(String),
    /// Another process has this database for itself.
    #[error(
        "another `portcullis` command has the database of DATABASE_URL for itself; wait until it has ended"
    )]
    Served,
    /// This process needs the database for itself, and others serve it.
    #[error("the database of DATABASE_URL is served; stop every `portcullis serve` on it first")]
    Shared,
    /// What only the leader may do was not done.
    #[error("another replica leads by now; nothing was changed")]
    Superseded,
    /// It is not certain that this replica has everything.
    #[error(transparent)]
    Behind(#[from] Behind),
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
    /// The database was written by an older version, and this command must not change it beside who serves it.
    #[error(
        "the database has schema version {found}, this program needs {known}; stop what serves it and run `portcullis \
         store migrate`, or start this version's `portcullis serve`, which does the same"
    )]
    Older {
        /// Version found.
        found: usize,
        /// Version needed.
        known: usize,
    },
    /// A secret cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An entry of the snapshot cannot be made.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The store was restored from a backup, and lacks what came after it.
    #[error("{0}")]
    Recovering(String),
    /// There is nothing to recover.
    #[error("the store was not restored from a backup, or has recovered already: there is nothing to do")]
    NotRecovering,
    /// What was accepted is not what may be missing.
    #[error(
        "changes may be missing from {latest} on, and the audit log begins at {earliest}; accept that with a time from \
         {earliest} to {latest}: --since {latest}",
        earliest = rfc3339(*earliest_ms),
        latest = rfc3339(*latest_ms)
    )]
    LossOutOfRange {
        /// The earliest time that can be meant, milliseconds since the Unix epoch.
        earliest_ms: u64,
        /// The latest one.
        latest_ms: u64,
    },
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// True when other changes would fail as well: it is the database, and not what was asked of it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::OutOfOrder(_)
                | Self::Disconnected(_)
                | Self::Barred(_)
                | Self::Unfit(_)
                | Self::Served
                | Self::Newer { .. }
                | Self::DataDir { .. }
        )
    }

    /// True when there is no connection to the database server, or the one that there was is of no more use.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_) | Self::Barred(_))
    }

    /// A data folder that cannot be used.
    #[must_use]
    pub fn data_dir(path: &std::path::Path, problem: impl std::fmt::Display) -> Self {
        Self::DataDir { path: path.to_owned(), problem: problem.to_string() }
    }
}
