//! The file of a backup: an SQLite database of its own, written under another name until it is whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use portcullis_sql::Connection;

use super::BackupError;
use crate::folder::settle_parent;

/// A file that is its owner's alone, and has its name when it is whole and durable. Dropped before that, it is removed;
/// what a process leaves that was killed, the next one removes.
pub(in crate::sql) struct Draft {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more when it was kept.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

impl Draft {
    /// Begins a file of this name.
    pub(in crate::sql) fn begin(path: &Path) -> Result<Self, BackupError> {
        if path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(path.to_owned()));
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".partial");
        let temporary = PathBuf::from(temporary);
        let failed = |error: std::io::Error| unusable(&temporary, &error);
        let lock = |file: &File| match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(BackupError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        };
        // What is left is not written to: it may be a link to another file, or have another mode.
        let mut left = None;
        if let Ok(there) = temporary.symlink_metadata() {
            if there.is_file() {
                let file = File::open(&temporary).map_err(failed)?;
                lock(&file)?;
                left = Some(file);
            }
            std::fs::remove_file(&temporary).map_err(failed)?;
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary);
        let file = match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(BackupError::Busy(path.to_owned()));
            }
            file => file.map_err(failed)?,
        };
        lock(&file)?;
        drop(left);
        // Another process may have taken it for one that was left, before it was locked.
        let (opened, named) =
            (file.metadata().map_err(failed)?, temporary.symlink_metadata().map_err(failed)?);
        if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
            return Err(BackupError::Busy(path.to_owned()));
        }
        Ok(Self { path: path.to_owned(), temporary, file })
    }

    /// The database in it. It needs no journal: a file that is not whole is thrown away.
    pub(in crate::sql) fn database(&self) -> Result<Connection, BackupError> {
        let open = || {
            let connection = rusqlite::Connection::open(&self.temporary)?;
            connection.pragma_update(None, "journal_mode", "OFF")?;
            connection.pragma_update(None, "synchronous", "OFF")?;
            connection.pragma_update(None, "trusted_schema", "OFF")?;
            connection.set_prepared_statement_cache_capacity(64);
            Ok(Connection::sqlite(connection))
        };
        open().map_err(|error: rusqlite::Error| unusable(&self.temporary, &error))
    }

    /// Makes the file durable, and gives it its name.
    pub(in crate::sql) fn keep(self) -> Result<(), BackupError> {
        let keep = || {
            self.file.sync_all()?;
            // A link, not a rename: it never takes the place of another file.
            std::fs::hard_link(&self.temporary, &self.path)?;
            std::fs::remove_file(&self.temporary)?;
            settle_parent(&self.path)
        };
        match keep() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(BackupError::Exists(self.path.clone()))
            }
            outcome => outcome.map_err(|error| unusable(&self.path, &error)),
        }
    }
}

pub(super) fn unusable(path: &Path, problem: &impl ToString) -> BackupError {
    BackupError::File { path: path.to_owned(), problem: problem.to_string() }
}
