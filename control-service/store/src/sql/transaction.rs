//! One group of writes, and the changes of the snapshot that it makes.

use std::sync::Arc;

use portcullis_control_domain::audit::{Parsed, Sender};
use portcullis_control_domain::random::random;
use portcullis_control_snapshot::entries::{self, Edit, Entries, OfKind, is_secret, stored_form};
use portcullis_control_snapshot::{Change, Issuers, Published};
use portcullis_protocol::wire::{AuditRecord, RecordKind};
use portcullis_sql::{Connection, params};
use prost::Message;

use super::audit::{Incoming, Recorder, append};
use super::failure::Failure;
use super::life::{CHANGED, Life, life};
use super::sealed;
use super::vouched::end_vouched;
use crate::seal::SealingKey;

/// Removed entries that are remembered; with more, the older half is forgotten, and readers that are
/// behind them get everything anew.
const MAX_TOMBSTONES: u64 = 20_000;
/// They are counted once in so many revisions: counting walks through all of them.
const COUNT_EVERY: u64 = 256;

/// Gives up the savepoint of a job.
const RELEASE: &str = "RELEASE job;";

/// An open transaction. Dropped without [`Transaction::commit`], it leaves nothing.
pub(super) struct Transaction<'c> {
    connection: &'c Connection,
    recorder: &'c Recorder,
    sealing: &'c SealingKey,
    before: Life,
    life: Life,
    changes: Vec<Change>,
    open: bool,
    /// Whether the savepoint of a job stands. It is given up with what comes next, which spares a way to a server and back.
    has_savepoint: bool,
    /// Why nothing more can be done in it: the database has taken it back, or does not say what is so.
    broken: Option<Failure>,
    /// The first failure of a job that others would have met as well.
    outage: Option<Failure>,
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            self.recorder.forget();
            if self.connection.rollback().is_err() {
                tracing::debug!("the transaction had ended already");
            }
        }
    }
}

impl<'c> Transaction<'c> {
    /// Begins; `recorder` writes its audit records.
    pub(super) fn begin(
        connection: &'c Connection,
        sealing: &'c SealingKey,
        recorder: &'c Recorder,
    ) -> Result<Self, Failure> {
        connection.begin()?;
        Self::begun(connection, sealing, recorder)
    }

    /// As [`Self::begin`], on a connection on which a transaction was begun already.
    pub(super) fn begun(
        connection: &'c Connection,
        sealing: &'c SealingKey,
        recorder: &'c Recorder,
    ) -> Result<Self, Failure> {
        let mut transaction = Self {
            connection,
            sealing,
            recorder,
            before: Life::NONE,
            life: Life::NONE,
            changes: Vec::new(),
            open: true,
            has_savepoint: false,
            broken: None,
            outage: None,
        };
        let mut life = life(connection)?;
        if life.generation == [0; 16] {
            life.generation = random();
            connection.execute(
                "INSERT INTO snapshot_life (id, generation, revision, floor) VALUES (1, ?1, 0, 0)",
                params![life.generation],
            )?;
        }
        transaction.before = life;
        transaction.life = life;
        Ok(transaction)
    }

    /// The connection, for statements of this transaction.
    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// What writes its audit records.
    pub(super) fn recorder(&self) -> &'c Recorder {
        self.recorder
    }

    /// The store's life, this transaction's changes included.
    pub(super) fn life(&self) -> Life {
        self.life
    }

    /// The newest revision, this transaction's changes included.
    pub(super) fn revision(&self) -> u64 {
        self.life.revision
    }

    /// Runs a job that leaves nothing when it fails.
    pub(super) fn nested<T>(
        &mut self,
        job: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        let (life, changes) = (self.life, self.changes.len());
        self.set_savepoint()?;
        let outcome = job(self);
        if let Err(error) = &outcome {
            self.outage = self.outage.take().or_else(|| error.0.is_outage().then(|| error.clone()));
            self.recorder.forget();
            // A disk that is full makes SQLite take everything back, savepoints included. The next statement would begin a
            // transaction of its own, and the next job be kept though its group is not.
            if self.connection.batch("ROLLBACK TO job").is_err() {
                self.broken = Some(error.clone());
                return outcome;
            }
            self.life = life;
            self.changes.truncate(changes);
        }
        outcome
    }

    /// What follows can be taken back by itself. What was before cannot any more.
    fn set_savepoint(&mut self) -> Result<(), Failure> {
        let sql =
            if self.has_savepoint { [RELEASE, "SAVEPOINT job"].concat() } else { "SAVEPOINT job".to_owned() };
        if let Err(error) = self.connection.batch(&sql) {
            let error = Failure::from(error);
            self.broken = Some(error.clone());
            return Err(error);
        }
        self.has_savepoint = true;
        Ok(())
    }

    /// Why jobs of this transaction failed that would have failed whatever they wanted.
    pub(super) fn outage(&self) -> Option<&Failure> {
        self.outage.as_ref()
    }

    /// Changes an entry of the snapshot.
    pub(super) fn publish(&mut self, edit: &Edit) -> Result<u64, Failure> {
        edit.check()?;
        self.life.revision += 1;
        let revision = self.life.revision;
        let stored = edit.value.as_ref().map(|value| stored_form(edit.kind, value));
        self.connection.execute(
            "INSERT INTO snapshot_entry (kind, key, revision, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (kind, key) DO UPDATE SET revision = excluded.revision, value = excluded.value",
            params![edit.kind as i32, edit.key, revision, stored],
        )?;
        if is_secret(edit.kind) {
            self.keep_secret(edit.kind, &edit.key, edit.value.as_deref())?;
        }
        let (key, value) = (edit.key.as_slice().into(), edit.value.as_deref().map(Arc::from));
        self.changes.push(Change { kind: edit.kind, key, revision, value });
        if edit.value.is_none() && revision.is_multiple_of(COUNT_EVERY) {
            self.forget_old_tombstones()?;
        }
        Ok(revision)
    }

    /// Keeps the secret value of an entry sealed, so that every replica can publish it.
    fn keep_secret(&self, kind: RecordKind, key: &[u8], value: Option<&[u8]>) -> Result<(), Failure> {
        let name = sealed::name_of_entry(kind, key);
        match value {
            Some(value) => sealed::store(self.connection, self.sealing, &name, value),
            None => sealed::remove(self.connection, &name),
        }
    }

    /// Publishes that something is revoked, or is not any more. What is revoked ends the tokens that it vouches for.
    pub(super) fn publish_revocation(&mut self, name: &str, revoked: bool) -> Result<u64, Failure> {
        let mut known_as = self.issuers()?.known_as(name);
        if revoked {
            end_vouched(self.connection, &known_as)?;
        }
        // What is revoked by another name as well stays so at sidecars.
        if !revoked && self.is_any_revoked(&mut known_as.iter().filter(|other| *other != name))? {
            known_as.clear();
        }
        let edits = entries::of_revocation(name, &known_as, revoked);
        edits.iter().try_fold(self.revision(), |_, edit| self.publish(edit))
    }

    /// Brings the digests of revocations up to date with their names.
    pub(super) fn sync_revocation_digests(&mut self) -> Result<(), Failure> {
        let names: Vec<Vec<u8>> = self.connection.query(
            "SELECT key FROM snapshot_entry WHERE kind = ?1 AND value IS NOT NULL",
            params![RecordKind::Revocation as i32],
            |row| row.get(0),
        )?;
        let names = names.iter().filter_map(|name| std::str::from_utf8(name).ok());
        self.sync(RecordKind::RevocationDigest, &entries::revocation_digests(names, &self.issuers()?))
    }

    /// The issuers of the snapshot.
    pub(super) fn issuers(&self) -> Result<Issuers, Failure> {
        let sql = "SELECT value FROM snapshot_entry WHERE kind = ?1 AND value IS NOT NULL";
        let kind = RecordKind::Issuer as i32;
        let documents: Vec<Vec<u8>> = self.connection.query(sql, params![kind], |row| row.get(0))?;
        Ok(documents.iter().map(Vec::as_slice).collect())
    }

    /// Whether the snapshot says that one of these names is revoked.
    fn is_any_revoked(&self, names: &mut dyn Iterator<Item = &String>) -> Result<bool, Failure> {
        let sql = "SELECT EXISTS (SELECT 1 FROM snapshot_entry
            WHERE kind = ?1 AND key = ?2 AND value IS NOT NULL)";
        for name in names {
            let (kind, key) = (RecordKind::Revocation as i32, name.as_bytes());
            let parameters = params![kind, key];
            if self.connection.query_one(sql, parameters, |row| row.get(0))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn forget_old_tombstones(&mut self) -> Result<(), Failure> {
        let count: u64 = self.connection.query_one(
            "SELECT count(*) FROM snapshot_entry WHERE value IS NULL",
            params![],
            |row| row.get(0),
        )?;
        if count <= MAX_TOMBSTONES {
            return Ok(());
        }
        let floor: u64 = self.connection.query_one(
            "SELECT revision FROM snapshot_entry WHERE value IS NULL ORDER BY revision LIMIT 1 OFFSET ?1",
            params![MAX_TOMBSTONES / 2],
            |row| row.get(0),
        )?;
        self.connection
            .execute("DELETE FROM snapshot_entry WHERE value IS NULL AND revision <= ?1", params![floor])?;
        self.life.floor = floor;
        Ok(())
    }

    /// Makes the entries of a kind exactly these; what is as it should be keeps its revision.
    pub(super) fn sync(&mut self, kind: RecordKind, wanted: &OfKind) -> Result<(), Failure> {
        let sql = "SELECT key, value FROM snapshot_entry WHERE kind = ?1 AND value IS NOT NULL";
        let found = self.connection.query(sql, params![kind as i32], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found: OfKind = found.into_iter().collect();
        if is_secret(kind) {
            // Also of those that stay as they are, which are not published: services of before kept their digests alone.
            let stays =
                |(key, value): &(&Vec<u8>, &Vec<u8>)| found.get(*key) == Some(&stored_form(kind, value));
            wanted
                .iter()
                .filter(stays)
                .try_for_each(|(key, value)| self.keep_secret(kind, key, Some(value)))?;
        }
        entries::differences(kind, wanted, &found).iter().try_for_each(|edit| self.publish(edit).map(drop))
    }

    /// Brings the entries that follow from secrets and settings up to date.
    pub(super) fn sync_settings(&mut self, entries: &Entries) -> Result<(), Failure> {
        entries.iter().try_for_each(|(kind, wanted)| self.sync(*kind, wanted))?;
        self.sync_revocation_digests()
    }

    /// Adds a record of the service's own to the audit log.
    pub(super) fn record(&mut self, record: AuditRecord) -> Result<(), Failure> {
        let sequence: u64 = self
            .connection
            .query_optional(
                "SELECT highest FROM audit_stream WHERE stream = ?1",
                params![self.recorder.stream],
                |row| row.get(0),
            )?
            .unwrap_or(0);
        let record = AuditRecord { stream: self.recorder.stream.to_vec(), sequence: sequence + 1, ..record };
        let parsed = Parsed::new(record.encode_to_vec())
            .ok_or_else(|| Failure::database("an audit record of its own is not readable".to_owned()))?;
        append(self.connection, self.recorder, &Sender::control(), &[Incoming::one(parsed)])?;
        Ok(())
    }

    /// Makes everything durable and returns what is to be published.
    pub(super) fn commit(mut self) -> Result<Published, Failure> {
        if let Some(why) = self.broken.take() {
            return Err(why);
        }
        // First of all: where the database has taken back all of it, there is no savepoint, and nothing is to be kept.
        let mut last = if self.has_savepoint { RELEASE.to_owned() } else { String::new() };
        let is_news = self.life != self.before;
        if is_news {
            let Life { revision, floor, .. } = self.life;
            last += &format!("UPDATE snapshot_life SET revision = {revision}, floor = {floor};");
        }
        self.connection.commit_after(&last, is_news.then_some(CHANGED))?;
        self.open = false;
        let floor = if self.life.floor > self.before.floor { self.life.floor } else { 0 };
        Ok(Published { changes: std::mem::take(&mut self.changes), floor })
    }
}

#[cfg(test)]
pub(super) mod tests;
