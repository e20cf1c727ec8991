//! Backups: one state of the whole store, in one file that either database can be restored from.
//!
//! The file is an SQLite database with the tables of the store and a manifest. Secrets stay sealed in it, and the manifest
//! is sealed, too: whoever has the sealing key can tell that it is as it was made.

mod copied;
mod error;
mod file;
mod read;
mod restore;

use std::path::Path;

use portcullis_control_domain::audit::leaf_hash;
use portcullis_control_domain::backup::{FORMAT, Manifest};
use portcullis_control_domain::clock::now_ms;
use portcullis_protocol::audit::hex;
use portcullis_sql::{Connection, params};
use sha2::{Digest, Sha256};

use super::connect::Purpose;
use super::failure::Failure;
use super::life::life;
use super::location::Location;
use super::{audit, schema, sealed};
use crate::StoreError;
use crate::seal::SealingKey;
pub use error::BackupError;
use file::Draft;
pub use read::Backup;

/// `PRAGMA application_id` of a backup: "PCbk".
const APPLICATION: i64 = 0x5043_626b;

/// Where the manifest stands in the file.
const TABLE: &str = "CREATE TABLE backup (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    manifest    TEXT NOT NULL,
    wrapped_key BLOB NOT NULL,
    ciphertext  BLOB NOT NULL
) STRICT";

/// What the digest of the manifest is sealed as.
const SEALED_AS: &str = "backup manifest";

/// Saves the store of a location as it is at one moment, also while it is served.
///
/// # Errors
/// [`BackupError`] with what to do; there is no file of that name then.
pub fn create(location: &Location, file: &Path) -> Result<Manifest, BackupError> {
    let source = location.connect_if_there(Purpose::Save)?.ok_or(BackupError::NoStore)?;
    let key = SealingKey::load(location.sealing_key(), false).map_err(StoreError::from);
    // Before the moment that is saved: nothing is missing up to here.
    let made_at_ms = now_ms();
    source.at_one_moment(|| save(&source, &key?, file, made_at_ms))
}

fn save(
    source: &Connection,
    key: &SealingKey,
    file: &Path,
    made_at_ms: u64,
) -> Result<Manifest, BackupError> {
    let schema = schema::known_version(source)?;
    if schema == 0 {
        return Err(BackupError::NoStore);
    }
    // What an older version stored has another form, which only the program of that version saves.
    schema::expect_current(source)?;
    if !audit::is_converted(source)? {
        let told = "the audit log is being converted to the form of this version; wait until `portcullis serve` is ready";
        return Err(StoreError::Unfit(told.to_owned()).into());
    }
    let draft = Draft::begin(file)?;
    let target = draft.database()?;
    schema::make_version(&target, schema)?;
    target.batch(&format!("PRAGMA application_id = {APPLICATION}; BEGIN; {TABLE}"))?;
    let tables = copied::copy(source, &target)?;
    let life = life(source)?;
    let (audit_index, audit_leaf) = newest_record(source)?;
    let manifest = Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        made_at_ms,
        schema,
        generation: life.generation,
        revision: life.revision,
        audit_index,
        audit_leaf,
        tables,
    };
    write_manifest(&target, &manifest, key)?;
    target.batch("COMMIT")?;
    drop(target);
    draft.keep()?;
    Ok(manifest)
}

fn newest_record(connection: &Connection) -> Result<(u64, String), Failure> {
    let sql = "SELECT position, entry, leaf FROM audit_record ORDER BY position DESC LIMIT 1";
    let newest = connection.query_optional(sql, params![], |row| {
        let leaf = match row.get::<Option<Vec<u8>>>(1)? {
            Some(entry) => leaf_hash(&entry),
            None => row.get(2)?,
        };
        Ok((row.get::<u64>(0)?, hex(&leaf)))
    })?;
    Ok(newest.unwrap_or_default())
}

fn write_manifest(target: &Connection, manifest: &Manifest, key: &SealingKey) -> Result<(), Failure> {
    let text = serde_json::to_string(manifest)
        .map_err(|error| Failure::database(format!("the manifest cannot be written: {error}")))?;
    let sealed =
        key.seal(SEALED_AS, &Sha256::digest(text.as_bytes()), sealed::any_wrapped(target)?.as_ref())?;
    target.execute(
        "INSERT INTO backup (id, manifest, wrapped_key, ciphertext) VALUES (1, ?1, ?2, ?3)",
        params![text, sealed.wrapped_key, sealed.ciphertext],
    )?;
    Ok(())
}
