//! Restoring a backup: into a store that is not there yet, as a new life that is closed at first.

use std::path::{Path, PathBuf};

use portcullis_control_domain::audit::RecordedCaller;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::random::random;
use portcullis_control_domain::recovery::{NOBODY_KNOWS, RESERVE, event};
use portcullis_sql::{Begun, Connection, params};

use super::{Backup, BackupError, Draft, copied};
use crate::StoreError;
use crate::folder;
use crate::seal::SealingKey;
use crate::sql::audit::Recorder;
use crate::sql::connect::Purpose;
use crate::sql::enrolled;
use crate::sql::failure::Failure;
use crate::sql::location::Location;
use crate::sql::restoration::{end, under_way};
use crate::sql::schema;
use crate::sql::signing_keys;
use crate::sql::transaction::Transaction;

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
        self.fill(target.begin()?, &key)?;
        drop(target);
        draft.keep()
    }

    fn restore_server(&self, location: &Location) -> Result<(), BackupError> {
        let key = self.opened_by(location)?;
        let target = location.connect(Purpose::Fill)?;
        // Dropped before its commit, the connection takes everything back.
        let begun = target.begin()?;
        if !schema::is_empty(&target)? {
            return Err(BackupError::NotEmpty("the database of DATABASE_URL".to_owned()));
        }
        self.fill(begun, &key)
    }

    /// Writes everything in the transaction that was begun, reads it again, and commits.
    fn fill(&self, begun: Begun<'_>, key: &SealingKey) -> Result<(), BackupError> {
        let target: &Connection = &begun;
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
        Ok(begin(begun, key, manifest.made_at_ms, manifest.audit_index)?)
    }
}

/// Makes a new life of what was restored. Numbers go on above all that the life before can have given out since the
/// backup, and keys that sign tokens are made anew: those of the backup may have been replaced because they were stolen. Join
/// tokens may have been used since, so none of them is good any more.
fn begin(begun: Begun<'_>, key: &SealingKey, made_at_ms: u64, audit_index: u64) -> Result<(), Failure> {
    // A backup of a store that was still recovering lacks more than came after it, and nothing tells that any more.
    let connection: &Connection = &begun;
    // Whoever got a token after the restore is known by that: no clock may make one of before look so.
    let newest_token = "SELECT coalesce(max(created_at_ms), 0) FROM administrator";
    let newest_token: u64 = connection.query_one(newest_token, params![], |row| row.get(0))?;
    let restored_at_ms = now_ms().max(newest_token + 1);
    let unfinished = under_way(connection)?;
    end(connection, None)?;
    let covered_until_ms =
        unfinished.as_ref().map_or(made_at_ms, |older| older.covered_until_ms.min(made_at_ms));
    connection.execute(
        "INSERT INTO restoration (id, restored_at_ms, generation, covered_until_ms, covered_revision, covered_index,
                exports, held_revision, audit_from)
             SELECT (SELECT coalesce(max(id), 0) + 1 FROM restoration), CAST(?1 AS BIGINT), generation, CAST(?2 AS BIGINT),
                revision, CAST(?3 AS BIGINT), 0, CAST(?4 AS BIGINT), CAST(?5 AS BIGINT)
             FROM snapshot_life",
        params![
            restored_at_ms,
            covered_until_ms,
            audit_index,
            unfinished.map(|_| NOBODY_KNOWS),
            audit_index.saturating_add(RESERVE)
        ],
    )?;
    connection.execute(
        "UPDATE snapshot_life SET generation = ?1, revision = revision + ?2, floor = revision + ?2",
        params![random::<16>(), RESERVE],
    )?;
    signing_keys::remove_all(connection)?;
    enrolled::revoke_tokens(connection)?;
    let recorder = Recorder::load_or_make(begun, key)?;
    let mut transaction = Transaction::begun(connection, key, &recorder)?;
    transaction.record(event(RecordedCaller::local_operator(), "restore").record(200, ""))?;
    transaction.commit().map(drop)
}
