//! Administrators of the platform API. Only the digests of their tokens are kept.

use portcullis_control_domain::administrator::{Administrator, bootstrap_event};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::tokens::Token;
use portcullis_control_domain::{Listed, Refused};
use portcullis_sql::{Connection, Row, SqlError, params};
use subtle::ConstantTimeEq;

use super::failure::Failure;
use super::{Database, Store};
use crate::StoreError;

const COLUMNS: &str = "id, break_glass, created_at_ms, expires_at_s, revoked_at_ms";

/// Whether a token is good at the time `?2`, in seconds.
const GOOD: &str = "revoked_at_ms IS NULL AND (expires_at_s IS NULL OR expires_at_s > ?2)";

fn read(row: &Row<'_>) -> Result<Administrator, SqlError> {
    Ok(Administrator {
        id: row.get(0)?,
        break_glass: row.get(1)?,
        created_at_ms: row.get(2)?,
        expires_at_s: row.get(3)?,
        revoked_at_ms: row.get(4)?,
    })
}

fn insert(connection: &Connection, administrator: &Administrator, digest: &[u8; 32]) -> Result<(), Failure> {
    connection.execute(
        "INSERT INTO administrator (id, token_digest, break_glass, created_at_ms, expires_at_s)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            administrator.id,
            digest,
            administrator.break_glass,
            administrator.created_at_ms,
            administrator.expires_at_s
        ],
    )?;
    Ok(())
}

impl Database {
    /// Makes the first administrator. `None` when there is one already, also one whose token has ended or was
    /// revoked, unless `break_glass` is set; the making is audited either way.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub fn bootstrap_administrator(
        &mut self,
        break_glass: bool,
        expires_at_s: Option<u64>,
    ) -> Result<Option<Token>, StoreError> {
        let (mut administrator, token) = Administrator::generate(expires_at_s, now_ms());
        let digest = token.digest();
        let made = self.write(move |transaction| {
            let exists: bool = transaction.connection().query_one(
                "SELECT EXISTS (SELECT 1 FROM administrator)",
                params![],
                |row| row.get(0),
            )?;
            if exists && !break_glass {
                return Ok(false);
            }
            administrator.break_glass = exists;
            insert(transaction.connection(), &administrator, &digest)?;
            let action = bootstrap_event(&administrator.id, exists);
            transaction.record(action.record(201, ""))?;
            Ok(true)
        })?;
        Ok(made.then_some(token))
    }
}

impl Store {
    /// Whether this is the token of an administrator, neither revoked nor ended. Asked for each call, so that a
    /// revocation holds with the next one.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn is_administrator(&self, token: &Token) -> Result<bool, StoreError> {
        let (id, digest) = (token.id().to_owned(), token.digest());
        self.readers
            .run(move |connection| {
                let found = stored_digest(connection, &id)?;
                Ok(found.is_some_and(|stored| bool::from(stored.ct_eq(&digest))))
            })
            .await
    }

    /// Makes an administrator; its token is to be shown once.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn create_administrator(
        &self,
        expires_at_s: Option<u64>,
        action: AuditEvent,
    ) -> Result<(Administrator, Token), StoreError> {
        let (administrator, token) = Administrator::generate(expires_at_s, now_ms());
        let (made, digest) = (administrator.clone(), token.digest());
        self.writer
            .run(move |transaction| {
                insert(transaction.connection(), &administrator, &digest)?;
                let mut record = action.record(201, "");
                record.path = [record.path.as_str(), "/", &administrator.id].concat();
                transaction.record(record)
            })
            .await?;
        Ok((made, token))
    }

    /// Revokes an administrator's token; doing so again changes nothing. The last good one stays: nobody could
    /// do anything any more.
    ///
    /// # Errors
    /// [`Refused::AdministratorUnknown`] or [`Refused::AdministratorLast`], or the database fails.
    pub async fn revoke_administrator(
        &self,
        id: String,
        action: AuditEvent,
    ) -> Result<Administrator, StoreError> {
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                let find = ["SELECT ", COLUMNS, " FROM administrator WHERE id = ?1"].concat();
                let found = connection.query_optional(&find, params![&id], read)?;
                let mut administrator = found.ok_or(Refused::AdministratorUnknown)?;
                let now = now_ms();
                administrator.revoke(now, || is_another_good(connection, &id, now))?;
                connection.execute(
                    "UPDATE administrator SET revoked_at_ms = ?2 WHERE id = ?1",
                    params![id, administrator.revoked_at_ms],
                )?;
                transaction.record(action.record(200, ""))?;
                Ok(administrator)
            })
            .await
    }

    /// Administrators in the order of their ids, revoked ones included.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn administrators(
        &self,
        after: String,
        limit: usize,
    ) -> Result<Listed<Administrator>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql =
                    ["SELECT ", COLUMNS, " FROM administrator WHERE id > ?1 ORDER BY id LIMIT ?2"].concat();
                let items = connection.query(&sql, params![after, limit + 1], read)?;
                Ok(Listed::new(items, limit, |administrator: &Administrator| administrator.id.clone()))
            })
            .await
    }
}

fn stored_digest(connection: &Connection, id: &str) -> Result<Option<[u8; 32]>, Failure> {
    let sql = ["SELECT token_digest FROM administrator WHERE id = ?1 AND ", GOOD].concat();
    Ok(connection.query_optional(&sql, params![id, now_ms() / 1000], |row| row.get(0))?)
}

/// Whether there is an administrator beside this one whose token is good.
fn is_another_good(connection: &Connection, id: &str, now_ms: u64) -> Result<bool, Failure> {
    let sql = ["SELECT EXISTS (SELECT 1 FROM administrator WHERE id <> ?1 AND ", GOOD, ")"].concat();
    Ok(connection.query_one(&sql, params![id, now_ms / 1000], |row| row.get(0))?)
}
