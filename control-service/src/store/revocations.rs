//! Revocations of tokens, subjects, keys and clients.

use portcullis_core::wire::RecordKind;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use super::transaction::Action;
use super::{Listed, Refused, Store, StoreError};
use crate::clock::now_ms;

/// Something that is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// `jti:…`, `sub:…`, `kid:…` or `client:…`.
    pub name: String,
    /// Why, for people.
    pub note: String,
    /// Since when, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Revocation> {
    Ok(Revocation { name: row.get(0)?, note: row.get(1)?, created_at_ms: row.get(2)? })
}

impl Store {
    /// Revokes something.
    ///
    /// # Errors
    /// [`Refused::RevocationExists`], or the database fails.
    pub async fn add_revocation(
        &self,
        name: String,
        note: String,
        action: Action,
    ) -> Result<(Revocation, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                let revocation = Revocation { name, note, created_at_ms: now_ms() };
                let added = transaction
                    .connection()
                    .prepare_cached(
                        "INSERT INTO revocation (name, note, created_at_ms) VALUES (?1, ?2, ?3)
                         ON CONFLICT (name) DO NOTHING",
                    )?
                    .execute(params![revocation.name, revocation.note, revocation.created_at_ms])?;
                if added == 0 {
                    return Err(Refused::RevocationExists.into());
                }
                transaction.record(action.record(201, ""))?;
                let key = revocation.name.as_bytes();
                let revision = transaction.publish(RecordKind::Revocation, key, Some(b""))?;
                Ok((revocation, revision))
            })
            .await
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// [`Refused::RevocationUnknown`], or the database fails.
    pub async fn remove_revocation(
        &self,
        name: String,
        action: Action,
    ) -> Result<(Revocation, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                let revocation = transaction
                    .connection()
                    .prepare_cached(
                        "DELETE FROM revocation WHERE name = ?1 RETURNING name, note, created_at_ms",
                    )?
                    .query_row([&name], read)
                    .optional()?
                    .ok_or(Refused::RevocationUnknown)?;
                transaction.record(action.record(200, ""))?;
                let revision = transaction.publish(RecordKind::Revocation, name.as_bytes(), None)?;
                Ok((revocation, revision))
            })
            .await
    }

    /// Revocations in the order of their names.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn revocations(&self, after: String, limit: usize) -> Result<Listed<Revocation>, StoreError> {
        self.readers
            .run(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT name, note, created_at_ms FROM revocation WHERE name > ?1 ORDER BY name LIMIT ?2",
                )?;
                let rows = statement.query_map(params![after, limit + 1], read)?;
                let items = rows.collect::<Result<_, _>>()?;
                Ok(Listed::new(items, limit, |revocation: &Revocation| revocation.name.clone()))
            })
            .await
    }
}
