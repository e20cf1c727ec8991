//! Restoring a backup: into a store that is not there yet, as a new life that is closed at first.

use std::path::{Path, PathBuf};

use portcullis_sql::Connection;

use super::{Backup, BackupError, Draft, copied};
use crate::StoreError;
use crate::folder;
use crate::seal::SealingKey;
use crate::sql::location::Location;
use crate::sql::{recovery, schema};

impl Backup {
    /// Makes the store of a location of this backup: all of it, or nothing. The caller holds the lock of its folder.
    ///
    /// # Errors
    /// [`BackupError`] when there is a store already, the sealing key is another one, or what is written is not what was
    /// read.
    pub fn restore(&self, location: &Location) -> Result<(), BackupError> {
        match location {
            Location::Folder { folder, .. } => self.restore_file(location, &folder::database(folder)),
            Location::Server { .. } => self.restore_server(location),
        }
    }

    fn restore_file(&self, location: &Location, file: &Path) -> Result<(), BackupError> {
        // A log that was left of another database would be written into this one.
        let beside = |end: &str| {
            let mut name = file.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        if let Some(there) = ["", "-wal", "-shm", "-journal"].map(beside).iter().find(|f| f.exists()) {
            return Err(BackupError::NotEmpty(there.display().to_string()));
        }
        let key = self.opened_by(location)?;
        let draft = Draft::begin(file)?;
        let target = draft.database()?;
        target.begin()?;
        self.fill(&target, &key)?;
        drop(target);
        draft.keep()
    }

    fn restore_server(&self, location: &Location) -> Result<(), BackupError> {
        let target = location.connect_to_restore()?;
        target.batch("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")?;
        // Dropped before its commit, the connection takes everything back.
        target.begin()?;
        if !schema::is_empty(&target)? {
            return Err(BackupError::NotEmpty("the database of DATABASE_URL".to_owned()));
        }
        let key = self.opened_by(location)?;
        self.fill(&target, &key)
    }

    /// Writes everything in the transaction that was begun, reads it again, and commits.
    fn fill(&self, target: &Connection, key: &SealingKey) -> Result<(), BackupError> {
        let manifest = self.manifest();
        schema::make_version(target, manifest.schema)?;
        if schema::known_version(target)? != manifest.schema {
            let told = format!("schema version {} is older than any that this database had", manifest.schema);
            return Err(StoreError::Unfit(told).into());
        }
        // Each table is read again when it is written, and compared with what it was read from.
        for table in copied::copy(&self.connection, target)? {
            if table.rows > 0 && !manifest.tables.contains(&table) {
                let place = ["table ", &table.name].concat();
                return Err(self.damaged(&place, "what was written is not what the manifest says"));
            }
        }
        schema::migrate_within(target)?;
        Ok(recovery::begin(target, key, manifest.made_at_ms, manifest.audit_index)?)
    }
}
