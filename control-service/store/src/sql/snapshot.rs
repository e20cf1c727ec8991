//! The snapshot as the database has it.

use portcullis_control_snapshot::entries::{self, is_secret, stored_form};
use portcullis_control_snapshot::{Change, Published, SnapshotIndex};
use portcullis_protocol::wire::RecordKind;
use portcullis_sql::{Connection, Row, params};

use super::failure::Failure;
use super::life::{Life, life};
use super::sealed;
use crate::seal::SealingKey;

/// Loads the snapshot.
pub(super) fn load_state(connection: &Connection, sealing: &SealingKey) -> Result<SnapshotIndex, Failure> {
    let life = life(connection)?;
    let changes = changes_after(connection, 0, sealing)?;
    let mut state = SnapshotIndex::new(life.generation, life.revision, life.floor);
    state.publish(Published { changes, floor: 0 });
    Ok(state)
}

/// What changed after the newest revision that a snapshot has.
pub(super) fn load_news(
    connection: &Connection,
    life: Life,
    known: u64,
    sealing: &SealingKey,
) -> Result<Published, Failure> {
    Ok(Published { changes: changes_after(connection, known, sealing)?, floor: life.floor })
}

fn changes_after(connection: &Connection, known: u64, sealing: &SealingKey) -> Result<Vec<Change>, Failure> {
    let mut changes = stored_changes(connection, known)?;
    let secrets = changes.iter_mut().filter(|change| is_secret(change.kind));
    secrets.into_iter().try_for_each(|change| open(connection, sealing, change))?;
    Ok(changes)
}

/// The secrets of the snapshot, with their digests in their place.
pub(super) fn stored_secrets(connection: &Connection) -> Result<Vec<Change>, Failure> {
    let of_kind = |kind: RecordKind| {
        let sql = "SELECT kind, key, revision, value FROM snapshot_entry WHERE kind = ?1";
        let mut secrets = Vec::new();
        connection.each(sql, params![kind as i32], |row| {
            secrets.push(stored_change(row)?);
            Ok::<_, Failure>(())
        })?;
        Ok::<_, Failure>(secrets)
    };
    Ok(entries::SECRETS.into_iter().map(of_kind).collect::<Result<Vec<_>, _>>()?.concat())
}

/// The newest change of each entry after a revision, with digests in the place of secrets.
fn stored_changes(connection: &Connection, known: u64) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    let sql = "SELECT kind, key, revision, value FROM snapshot_entry WHERE revision > ?1 ORDER BY revision";
    connection.each(sql, params![known], |row| {
        changes.push(stored_change(row)?);
        Ok::<_, Failure>(())
    })?;
    Ok(changes)
}

/// An entry as it is stored.
fn stored_change(row: &Row<'_>) -> Result<Change, Failure> {
    change(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)
}

fn change(kind: i32, key: Vec<u8>, revision: u64, value: Option<Vec<u8>>) -> Result<Change, Failure> {
    let kind = RecordKind::try_from(kind)
        .map_err(|_| Failure::database(format!("snapshot entry of unknown kind {kind}")))?;
    Ok(Change { kind, key: key.into(), revision, value: value.map(Into::into) })
}

/// The store's life, and the newest change of each entry after a revision, with digests in the place of secrets: one
/// statement, which sees one moment.
pub(super) fn life_and_news(connection: &Connection, known: u64) -> Result<(Life, Vec<Change>), Failure> {
    let sql = "SELECT life.generation, life.revision, life.floor, entry.kind, entry.key, entry.revision, entry.value
        FROM snapshot_life AS life LEFT JOIN snapshot_entry AS entry ON entry.revision > ?1 ORDER BY entry.revision";
    let (mut found, mut changes) = (Life::NONE, Vec::new());
    connection.each(sql, params![known], |row| {
        found = Life { generation: row.get(0)?, revision: row.get(1)?, floor: row.get(2)? };
        if let Some(kind) = row.get::<Option<i32>>(3)? {
            changes.push(change(kind, row.get(4)?, row.get(5)?, row.get(6)?)?);
        }
        Ok::<_, Failure>(())
    })?;
    Ok((found, changes))
}

/// Puts the secret in the place of its digest. The digest must not be sent in its place: as a secret it would be one that
/// anybody knows.
pub(super) fn open(
    connection: &Connection,
    sealing: &SealingKey,
    change: &mut Change,
) -> Result<(), Failure> {
    let Some(digest) = &change.value else { return Ok(()) };
    let (kind, name) = (change.kind, sealed::name_of_entry(change.kind, &change.key));
    let secret =
        sealed::open(connection, sealing, &name)?.filter(|secret| **digest == stored_form(kind, secret));
    let missing = || {
        Failure::database(format!(
            "the secret of snapshot entry {kind:?} is missing; `portcullis serve` of this version writes it at its start"
        ))
    };
    change.value = Some(secret.ok_or_else(missing)?.as_slice().into());
    Ok(())
}
