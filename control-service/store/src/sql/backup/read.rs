//! Reading a backup: nothing of it is believed before all of it was looked at.

use std::path::{Path, PathBuf};

use portcullis_control_domain::backup::{FORMAT, Manifest};
use portcullis_sql::{Connection, SqlError, params};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::file::unusable;
use super::{APPLICATION, BackupError, SEALED_AS, TABLE, copied};
use crate::seal::{Sealed, SealingKey};
use crate::sql::failure::Failure;
use crate::sql::location::Location;
use crate::sql::{schema, sealed, sqlite};
use crate::{SealError, StoreError};

/// A backup that is whole: what it holds is what its manifest says.
pub struct Backup {
    path: PathBuf,
    pub(super) connection: Connection,
    manifest: Manifest,
    text: String,
    seal: Sealed,
}

impl Backup {
    /// Reads all of a backup.
    ///
    /// # Errors
    /// [`BackupError`] with the place where it is not what was written.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let unreadable =
            |error: &SqlError| BackupError::NoBackup { path: path.to_owned(), problem: error.to_string() };
        if let Err(error) = std::fs::File::open(path) {
            return Err(unusable(path, &error));
        }
        let connection = sqlite::read_only(path).map_err(|e| unreadable(&e))?;
        let number = |sql: &str| connection.query_one(sql, params![], |row| row.get::<i64>(0));
        if number("PRAGMA application_id").map_err(|e| unreadable(&e))? != APPLICATION {
            let problem = "it does not begin as one; `portcullis backup create` makes them".to_owned();
            return Err(BackupError::NoBackup { path: path.to_owned(), problem });
        }
        let (manifest, text, seal) = read_manifest(path, &connection)?;
        let backup = Self { path: path.to_owned(), connection, manifest, text, seal };
        backup.check_structure()?;
        backup.check_tables()?;
        Ok(backup)
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the sealing key of a location made it, and opens all of its secrets.
    ///
    /// # Errors
    /// [`BackupError::Seal`] with what does not open.
    pub fn check_seals(&self, location: &Location) -> Result<(), BackupError> {
        self.opened_by(location).map(drop)
    }

    /// The sealing key of a location, which made it and opens all of its secrets.
    pub(super) fn opened_by(&self, location: &Location) -> Result<SealingKey, BackupError> {
        let refused = |problem| BackupError::Seal { path: self.path.clone(), problem };
        let key = SealingKey::load(location.sealing_key(), false).map_err(StoreError::from)?;
        let digest = key.open(SEALED_AS, &self.seal).map_err(refused)?;
        if !bool::from(digest.as_slice().ct_eq(&Sha256::digest(self.text.as_bytes()))) {
            return Err(refused(SealError::DoesNotOpen { name: SEALED_AS.to_owned() }));
        }
        match sealed::open_all(&self.connection, &key) {
            Err(Failure(StoreError::Seal(problem))) => Err(refused(problem)),
            outcome => Ok(outcome.map(|()| key)?),
        }
    }

    pub(super) fn damaged(&self, place: &str, problem: impl ToString) -> BackupError {
        damaged(&self.path, place, problem)
    }

    /// Pages and indexes hang together, and the schema is the one of its version, without anything beside it.
    fn check_structure(&self) -> Result<(), BackupError> {
        let place = "the structure of the file";
        let found = self.connection.query("PRAGMA quick_check(1)", params![], |row| row.get::<String>(0));
        let found = found.map_err(|error| self.damaged(place, error))?;
        if found != ["ok"] {
            return Err(self.damaged(place, found.join("; ")));
        }
        let version = schema::known_version(&self.connection)?;
        if version != self.manifest.schema {
            return Err(self.damaged("the version of the tables", "it is not the one of the manifest"));
        }
        let wanted = sqlite::in_memory()?;
        schema::make_version(&wanted, version)?;
        wanted.batch(TABLE)?;
        if objects(&self.connection)? != objects(&wanted)? {
            return Err(
                self.damaged("the schema", "it has other tables, indexes or triggers than a store has")
            );
        }
        Ok(())
    }

    fn check_tables(&self) -> Result<(), BackupError> {
        let tables = copied::stored(&self.connection)?;
        for table in &tables {
            let place = ["table ", &table.name].concat();
            let found = copied::digest(&self.connection, table).map_err(|e| self.damaged(&place, e))?;
            let wanted = self.manifest.tables.iter().find(|wanted| wanted.name == table.name);
            if wanted.is_none() && found.rows == 0 {
                // The schema makes it, and the store had it no more.
                continue;
            }
            let wanted = wanted.ok_or_else(|| self.damaged(&place, "the manifest does not name it"))?;
            if found.rows != wanted.rows {
                let problem = format!("it has {} rows, the manifest says {}", found.rows, wanted.rows);
                return Err(self.damaged(&place, problem));
            }
            if found.sha256 != wanted.sha256 {
                return Err(self.damaged(&place, "its rows are not those that were written"));
            }
        }
        let missing =
            self.manifest.tables.iter().find(|wanted| !tables.iter().any(|t| t.name == wanted.name));
        missing.map_or(Ok(()), |table| Err(self.damaged(&["table ", &table.name].concat(), "it is missing")))
    }
}

fn damaged(path: &Path, place: &str, problem: impl ToString) -> BackupError {
    BackupError::Damaged { path: path.to_owned(), place: place.to_owned(), problem: problem.to_string() }
}

fn read_manifest(path: &Path, connection: &Connection) -> Result<(Manifest, String, Sealed), BackupError> {
    let sql = "SELECT manifest, wrapped_key, ciphertext FROM backup";
    let read = connection.query_one(sql, params![], |row| {
        Ok((row.get::<String>(0)?, Sealed { wrapped_key: row.get(1)?, ciphertext: row.get(2)? }))
    });
    let (text, seal) = read.map_err(|error| damaged(path, "the manifest", error))?;
    let format = serde_json::from_str::<serde_json::Value>(&text).ok();
    let format = format.as_ref().and_then(|value| value.get("format")?.as_u64());
    match format.map(u32::try_from) {
        Some(Ok(FORMAT)) => {}
        Some(Ok(found)) if found > FORMAT => return Err(BackupError::Format { found }),
        _ => return Err(damaged(path, "the manifest", "it has no format")),
    }
    let manifest = serde_json::from_str(&text).map_err(|error| damaged(path, "the manifest", error))?;
    Ok((manifest, text, seal))
}

/// What a schema is made of.
fn objects(connection: &Connection) -> Result<Vec<[String; 2]>, SqlError> {
    let sql = "SELECT type, name FROM sqlite_schema ORDER BY type, name";
    connection.query(sql, params![], |row| Ok([row.get(0)?, row.get(1)?]))
}
