//! Revocations of tokens, subjects, keys and clients.

use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::revocation::Revocation;
use portcullis_control_domain::{Listed, Refused};
use portcullis_sql::{Row, SqlError, params};

use super::Store;
use super::failure::Failure;
use super::transaction::Transaction;
use crate::StoreError;

/// Ended revocations that are removed in one go.
const MAX_ENDED: usize = 200;

const COLUMNS: &str = "name, note, created_at_ms, expires_at_s";

fn read(row: &Row<'_>) -> Result<Revocation, SqlError> {
    Ok(Revocation {
        name: row.get(0)?,
        note: row.get(1)?,
        created_at_ms: row.get(2)?,
        expires_at_s: row.get(3)?,
    })
}

/// Revokes the tokens of something that gets no new ones. Of a revocation that is there already the later end
/// counts, and none is later than any.
pub(super) fn revoke_tokens(
    transaction: &mut Transaction<'_>,
    revocation: &Revocation,
) -> Result<u64, Failure> {
    let Revocation { name, note, created_at_ms, expires_at_s } = revocation;
    transaction.connection().execute(
        "INSERT INTO revocation (name, note, created_at_ms, expires_at_s) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET expires_at_s = excluded.expires_at_s
                WHERE revocation.expires_at_s < excluded.expires_at_s",
        params![name, note, created_at_ms, expires_at_s],
    )?;
    transaction.publish_revocation(name, true)
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
        expires_at_s: Option<u64>,
        action: AuditEvent,
    ) -> Result<(Revocation, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                let revocation = Revocation { name, note, created_at_ms: now_ms(), expires_at_s };
                let added = transaction.connection().execute(
                    "INSERT INTO revocation (name, note, created_at_ms, expires_at_s) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (name) DO NOTHING",
                    params![
                        revocation.name,
                        revocation.note,
                        revocation.created_at_ms,
                        revocation.expires_at_s
                    ],
                )?;
                if added == 0 {
                    return Err(Refused::RevocationExists.into());
                }
                transaction.record(action.record(201, ""))?;
                let revision = transaction.publish_revocation(&revocation.name, true)?;
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
        action: AuditEvent,
    ) -> Result<(Revocation, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                let revocation = transaction
                    .connection()
                    .query_optional(
                        &["DELETE FROM revocation WHERE name = ?1 RETURNING ", COLUMNS].concat(),
                        params![&name],
                        read,
                    )?
                    .ok_or(Refused::RevocationUnknown)?;
                transaction.record(action.record(200, ""))?;
                let revision = transaction.publish_revocation(&name, false)?;
                Ok((revocation, revision))
            })
            .await
    }

    /// Removes revocations that have nothing left to refuse; returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn remove_ended_revocations(&self) -> Result<usize, StoreError> {
        self.writer
            .run_bulk(move |transaction| {
                let ended: Vec<String> = transaction.connection().query(
                    "DELETE FROM revocation WHERE name IN
                            (SELECT name FROM revocation WHERE expires_at_s <= ?1 LIMIT ?2) RETURNING name",
                    params![now_ms() / 1000, MAX_ENDED],
                    |row| row.get(0),
                )?;
                for name in &ended {
                    transaction.publish_revocation(name, false)?;
                }
                Ok(ended.len())
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
                let sql =
                    ["SELECT ", COLUMNS, " FROM revocation WHERE name > ?1 ORDER BY name LIMIT ?2"].concat();
                let items = connection.query(&sql, params![after, limit + 1], read)?;
                Ok(Listed::new(items, limit, |revocation: &Revocation| revocation.name.clone()))
            })
            .await
    }
}
