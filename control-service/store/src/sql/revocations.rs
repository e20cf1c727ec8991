//! Revocations of tokens, subjects, keys and clients.

use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::{Authority, Reach};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::limits::Made;
use portcullis_control_domain::revocation::{Revocation, is_within, names_within};
use portcullis_control_domain::{Listed, Refused};
use portcullis_sql::{Row, SqlError, params};

use super::Store;
use super::failure::Failure;
use super::leader::Term;
use super::limits::Making;
use super::transaction::Transaction;
use crate::StoreError;

/// How long a revocation stays after its end, in seconds: a clock that was an hour ahead must not have opened what it refuses.
const CLOCK_ERROR_S: u64 = 2 * 3600;
/// Ended revocations that are removed in one go.
const MAX_ENDED: usize = 200;

pub(super) const COLUMNS: &str = "name, note, created_at_ms, expires_at_s, made_by";

pub(super) fn read(row: &Row<'_>) -> Result<Revocation, SqlError> {
    Ok(Revocation {
        name: row.get(0)?,
        note: row.get(1)?,
        created_at_ms: row.get(2)?,
        expires_at_s: row.get(3)?,
        made_by: row.parse(4)?,
    })
}

/// Revokes the tokens of something that gets no new ones. Of a revocation that is there already the later end
/// counts, and none is later than any; whose word it was, it stays.
pub(super) fn revoke_tokens(
    transaction: &mut Transaction<'_>,
    revocation: &Revocation,
) -> Result<u64, Failure> {
    let Revocation { name, note, created_at_ms, expires_at_s, made_by } = revocation;
    transaction.connection().execute(
        "INSERT INTO revocation (name, note, created_at_ms, expires_at_s, made_by) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (name) DO UPDATE SET expires_at_s = excluded.expires_at_s
                WHERE revocation.expires_at_s < excluded.expires_at_s",
        params![name, note, created_at_ms, expires_at_s, made_by.as_str()],
    )?;
    transaction.publish_revocation(name, true)
}

/// Makes a revocation one without an end, by the word of this authority; of a higher one it stays.
pub(super) fn keep(transaction: &mut Transaction<'_>, name: &str, by: Authority) -> Result<u64, Failure> {
    // No owner of a cluster revokes.
    let by = by.max(Authority::Tenant).as_str();
    let sql = "INSERT INTO revocation (name, note, created_at_ms, made_by) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (name) DO UPDATE SET expires_at_s = NULL,
            made_by = CASE excluded.made_by WHEN 'platform' THEN 'platform' ELSE revocation.made_by END";
    transaction.connection().execute(sql, params![name, "done again after a restore", now_ms(), by])?;
    transaction.publish_revocation(name, true)
}

impl Store {
    /// Revokes something. What a lower authority has revoked already becomes the word of the higher one, which ends it no
    /// earlier: the later end counts, and none is later than any.
    ///
    /// # Errors
    /// [`Refused::OutOfReach`], [`Refused::LimitReached`], [`Refused::RevocationExists`], or the database fails.
    pub async fn add_revocation(
        &self,
        name: String,
        note: String,
        expires_at_s: Option<u64>,
        action: AuditEvent,
    ) -> Result<(Revocation, u64), StoreError> {
        let limits = self.limits();
        self.writer
            .run(move |transaction| {
                let reach = action.reach();
                if !is_within(&name, &reach) {
                    return Err(Refused::OutOfReach.into());
                }
                let tenant = reach.bounds().0.unwrap_or_default();
                let making = Making { what: Made::Revocations, tenant, in_place_of: "", limits };
                making.allow(transaction.connection(), &action)?;
                let made_by = reach.authority();
                let revocation = Revocation { name, note, created_at_ms: now_ms(), expires_at_s, made_by };
                let end = transaction.connection().query_optional(
                    "INSERT INTO revocation (name, note, created_at_ms, expires_at_s, made_by)
                         VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (name) DO UPDATE SET note = excluded.note,
                            expires_at_s = CASE WHEN revocation.expires_at_s IS NULL
                                OR revocation.expires_at_s > excluded.expires_at_s
                                THEN revocation.expires_at_s ELSE excluded.expires_at_s END,
                            created_at_ms = excluded.created_at_ms, made_by = excluded.made_by
                         WHERE revocation.made_by = 'tenant' AND excluded.made_by = 'platform'
                         RETURNING expires_at_s",
                    params![
                        revocation.name,
                        revocation.note,
                        revocation.created_at_ms,
                        revocation.expires_at_s,
                        revocation.made_by.as_str()
                    ],
                    |row| row.get(0),
                )?;
                let expires_at_s = end.ok_or(Refused::RevocationExists)?;
                let revocation = Revocation { expires_at_s, ..revocation };
                transaction.record(action.record_of(201, &revocation.name))?;
                let revision = transaction.publish_revocation(&revocation.name, true)?;
                Ok((revocation, revision))
            })
            .await
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// [`Refused::RevocationUnknown`], [`Refused::HeldAbove`], or the database fails.
    pub async fn remove_revocation(
        &self,
        name: String,
        action: AuditEvent,
    ) -> Result<(Revocation, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                let delete = ["DELETE FROM revocation WHERE name = ?1 RETURNING ", COLUMNS].concat();
                let found = transaction.connection().query_optional(&delete, params![&name], read)?;
                let reach = action.reach();
                let found = found.filter(|revocation| is_within(&revocation.name, &reach));
                let revocation = found.ok_or(Refused::RevocationUnknown)?;
                // The job leaves nothing when it is refused.
                if revocation.made_by > reach.authority() {
                    return Err(Refused::HeldAbove.into());
                }
                transaction.record(action.record_of(200, &name))?;
                let revision = transaction.publish_revocation(&name, false)?;
                Ok((revocation, revision))
            })
            .await
    }

    /// Removes revocations that have nothing left to refuse, as the leader; returns how many.
    ///
    /// # Errors
    /// [`StoreError::Superseded`], or the database fails.
    pub async fn remove_ended_revocations(&self, term: Term) -> Result<usize, StoreError> {
        self.writer
            .run_bulk(move |transaction| {
                transaction.is_led_by(term)?;
                let ended: Vec<String> = transaction.connection().query(
                    "DELETE FROM revocation WHERE name IN
                            (SELECT name FROM revocation WHERE expires_at_s <= ?1 LIMIT ?2) RETURNING name",
                    params![(now_ms() / 1000).saturating_sub(CLOCK_ERROR_S), MAX_ENDED],
                    |row| row.get(0),
                )?;
                for name in &ended {
                    transaction.publish_revocation(name, false)?;
                }
                Ok(ended.len())
            })
            .await
    }

    /// Revocations in the order of their names, for somebody who can touch so much.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn revocations(
        &self,
        reach: Reach,
        after: String,
        limit: usize,
    ) -> Result<Listed<Revocation>, StoreError> {
        self.readers
            .run(move |connection| {
                let range = reach.bounds().0.map(names_within);
                let (first, behind) = range.as_ref().map(|(first, behind)| (first, behind)).unzip();
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM revocation WHERE name > ?1
                      AND (CAST(?3 AS TEXT) IS NULL OR (name >= ?3 AND name < ?4)) ORDER BY name LIMIT ?2",
                ]
                .concat();
                let items = connection.query(&sql, params![after, limit + 1, first, behind], read)?;
                Ok(Listed::new(items, limit, |revocation: &Revocation| revocation.name.clone()))
            })
            .await
    }
}
