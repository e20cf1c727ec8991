//! Reads all of a store, and tells of whatever does not fit together.

mod audit;
mod sealed;
mod snapshot;
mod things;

use std::collections::BTreeMap;

use portcullis_sql::{Backend, Connection, SqlError, params};

use super::connect::Purpose;
use super::failure::Failure;
use super::location::Location;
use super::{Database, schema, tables};
use crate::StoreError;
use crate::seal::SealingKey;

/// Faults of one part that are told one by one; of more, the number is.
const TOLD: u64 = 20;

/// What was looked at, and how many faults were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Tables.
    pub tables: usize,
    /// Rows of all of them.
    pub rows: u64,
    /// Faults, told or not.
    pub faults: u64,
}

/// A look at a whole store.
struct Check<'c> {
    connection: &'c Connection,
    faults: BTreeMap<&'static str, u64>,
    tell: &'c mut dyn FnMut(&str),
}

impl Database {
    /// Reads all of the database as it is at one moment, and has each fault told; whoever serves it goes on. `None` where
    /// there is no database yet.
    ///
    /// # Errors
    /// [`StoreError`] when it is not one of this version, cannot be reached, or the sealing key cannot be had.
    pub fn check(location: &Location, tell: &mut dyn FnMut(&str)) -> Result<Option<Checked>, StoreError> {
        let Some(connection) = location.connect_if_there(Purpose::Check)? else { return Ok(None) };
        schema::expect_current(&connection)?;
        let key = SealingKey::load(location.sealing_key(), false)?;
        let mut check = Check { connection: &connection, faults: BTreeMap::new(), tell };
        Ok(Some(connection.at_one_moment(|| check.all(&key))?))
    }
}

impl Check<'_> {
    fn all(&mut self, key: &SealingKey) -> Result<Checked, Failure> {
        let (tables, rows) = self.tables()?;
        self.part("the file", Self::file)?;
        self.part("sealed secrets", |check| check.sealed(key))?;
        self.part("the snapshot", Self::snapshot)?;
        self.part("clusters", Self::clusters)?;
        self.part("API keys", Self::api_keys)?;
        self.part("revocations", Self::revocations)?;
        self.part("what is kept besides", Self::others)?;
        self.part("the audit log", |check| check.audit_log(key))?;
        self.part("audit streams", Self::audit_streams)?;
        Ok(Checked { tables, rows, faults: self.faults.values().sum() })
    }

    /// Tells of a fault.
    fn fault(&mut self, part: &'static str, what: &str) {
        let count = self.faults.entry(part).or_default();
        *count += 1;
        if *count <= TOLD {
            (self.tell)(&[part, ": ", what].concat());
        }
    }

    /// Looks at one part. What keeps it from being read to its end is a fault of its own.
    fn part(
        &mut self,
        part: &'static str,
        look: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match look(self) {
            Err(Failure(error)) if error.is_disconnected() => return Err(error.into()),
            Err(error) => self.fault(part, &error.to_string()),
            Ok(()) => {}
        }
        let more = self.faults.get(part).map_or(0, |count| count.saturating_sub(TOLD));
        if more > 0 {
            (self.tell)(&format!("{part}: {more} more of the kind"));
        }
        Ok(())
    }

    /// Reads every row of every table.
    fn tables(&mut self) -> Result<(usize, u64), Failure> {
        let connection = self.connection;
        let all = tables::all(connection)?;
        let mut rows = 0;
        for table in &all {
            self.part("tables", |check| {
                match table.content(connection).map_err(Failure::from) {
                    Ok(content) => rows += content.rows,
                    Err(Failure(error)) if error.is_disconnected() => return Err(error.into()),
                    Err(error) => check.fault("tables", &[&*table.name, ": ", &error.to_string()].concat()),
                }
                Ok(())
            })?;
        }
        Ok((all.len(), rows))
    }

    /// What SQLite finds wrong with its file.
    fn file(&mut self) -> Result<(), Failure> {
        if self.connection.backend() != Backend::Sqlite {
            return Ok(());
        }
        let told: Vec<String> =
            self.connection.query("PRAGMA integrity_check(1000)", params![], |row| row.get(0))?;
        for fault in told.iter().filter(|told| *told != "ok") {
            self.fault("the file", fault);
        }
        let orphans = self.connection.query("PRAGMA foreign_key_check", params![], |row| {
            let (table, row, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok::<_, SqlError>(format!("row {row:?} of {table} refers to no row of {parent}"))
        })?;
        orphans.iter().for_each(|orphan| self.fault("the file", orphan));
        Ok(())
    }
}
