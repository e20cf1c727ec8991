//! API keys. The key itself is nowhere but with its holder.

use portcullis_control_domain::api_key::{ApiKey, KeyRotation, NewApiKey, Replacement};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::{Permission, Reach};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::limits::Made;
use portcullis_control_domain::revocation::Revocation;
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_domain::{Listed, Refused};
use portcullis_control_snapshot::entries;
use portcullis_identity::SourceType;
use portcullis_protocol::audit::keyed_hash;
use portcullis_sql::{Connection, Row, SqlError, params};

use super::failure::Failure;
use super::limits::Making;
use super::revocations::revoke_tokens;
use super::transaction::Transaction;
use super::words::words;
use super::{Store, times};
use crate::StoreError;

pub(super) const COLUMNS: &str =
    "id, tenant, subject, source_type, roles, scopes, created_at_ms, expires_at_s,
    revoked_at_ms, last_used_at_ms, replaced_by";
/// Where the digest stands behind these.
pub(super) const DIGEST: usize = 11;

const NOTE_USES: [&str; 2] = [
    "UPDATE api_key SET last_used_at_ms = noted.at_ms",
    "WHERE id = noted.name AND coalesce(last_used_at_ms, 0) < noted.at_ms",
];

pub(super) fn read(row: &Row<'_>) -> Result<ApiKey, SqlError> {
    Ok(ApiKey {
        id: row.get(0)?,
        tenant: row.parse(1)?,
        subject: row.get(2)?,
        source_type: source_type(row)?,
        roles: words(row, 4)?,
        scopes: words(row, 5)?,
        created_at_ms: row.get(6)?,
        expires_at_s: row.get(7)?,
        revoked_at_ms: row.get(8)?,
        last_used_at_ms: row.get(9)?,
        replaced_by: row.get(10)?,
    })
}

fn source_type(row: &Row<'_>) -> Result<SourceType, SqlError> {
    let found = SourceType::from_name(&row.get::<String>(3)?);
    found.ok_or(SqlError::Column { index: 3, wanted: "source type" })
}

fn find(connection: &Connection, id: &str) -> Result<Option<ApiKey>, Failure> {
    let sql = ["SELECT ", COLUMNS, " FROM api_key WHERE id = ?1"].concat();
    Ok(connection.query_optional(&sql, params![id], read)?)
}

/// A key, for whoever does this: what is beyond their reach is not there.
fn within(connection: &Connection, id: &str, action: &AuditEvent) -> Result<ApiKey, Failure> {
    let found = find(connection, id)?.filter(|key| action.reach().has_tenant(key.tenant.as_str()));
    Ok(found.ok_or(Refused::ApiKeyUnknown)?)
}

/// A key that passes for a person makes its holder one, whoever holds it.
fn may_have(action: &AuditEvent, source_type: SourceType) -> Result<(), Refused> {
    let fits = source_type != SourceType::Human || action.may(Permission::ApiKeysHuman);
    if fits { Ok(()) } else { Err(Refused::HumanKey) }
}

fn insert(transaction: &mut Transaction<'_>, key: &ApiKey, digest: &[u8; 32]) -> Result<u64, Failure> {
    transaction.connection().execute(
        "INSERT INTO api_key (id, digest, tenant, subject, source_type, roles, scopes,
                created_at_ms, expires_at_s) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            key.id,
            digest,
            key.tenant.as_str(),
            key.subject,
            key.source_type.as_str(),
            key.roles.join(" "),
            key.scopes.join(" "),
            key.created_at_ms,
            key.expires_at_s
        ],
    )?;
    transaction.publish(&entries::of_api_key(key, digest))
}

/// Revokes a key and what it led to; doing so again changes nothing.
pub(super) fn revoke(transaction: &mut Transaction<'_>, id: &str) -> Result<(ApiKey, u64), Failure> {
    let mut key = find(transaction.connection(), id)?.ok_or(Refused::ApiKeyUnknown)?;
    let now = now_ms();
    if !key.revoke(now) {
        return Ok((key, transaction.revision()));
    }
    let digest: [u8; 32] = transaction.connection().query_one(
        "UPDATE api_key SET revoked_at_ms = ?2 WHERE id = ?1 RETURNING digest",
        params![id, key.revoked_at_ms],
        |row| row.get(0),
    )?;
    revoke_tokens(transaction, &Revocation::of_api_key(id, now))?;
    let revision = transaction.publish(&entries::of_api_key(&key, &digest))?;
    Ok((key, revision))
}

impl Store {
    /// Makes a key; the token is to be shown once. `pepper` is the key of its digest.
    ///
    /// # Errors
    /// [`Refused::OutOfReach`], [`Refused::HumanKey`], [`Refused::LimitReached`], or the database fails.
    pub async fn create_api_key(
        &self,
        new: NewApiKey,
        pepper: &[u8; 32],
        action: AuditEvent,
    ) -> Result<(ApiKey, Token, u64), StoreError> {
        let token = Token::generate(TokenKind::ApiKey);
        let digest = keyed_hash(pepper, token.reveal().as_bytes());
        let key = ApiKey::made(new, token.id(), now_ms());
        let (stored, limits) = (key.clone(), self.limits());
        let revision = self
            .writer
            .run(move |transaction| {
                if !action.reach().has_tenant(stored.tenant.as_str()) {
                    return Err(Refused::OutOfReach.into());
                }
                may_have(&action, stored.source_type)?;
                let making =
                    Making { what: Made::ApiKeys, tenant: stored.tenant.as_str(), in_place_of: "", limits };
                making.allow(transaction.connection(), &action)?;
                let mut record = action.record_of(201, &stored.id);
                record.tenant = stored.tenant.to_string();
                transaction.record(record)?;
                insert(transaction, &stored, &digest)
            })
            .await?;
        Ok((key, token, revision))
    }

    /// Makes a key in the place of another one.
    ///
    /// # Errors
    /// [`Refused::ApiKeyUnknown`], [`Refused::HumanKey`], [`Refused::ApiKeyEnded`], [`Refused::LimitReached`], or the
    /// database fails.
    pub async fn rotate_api_key(
        &self,
        id: String,
        how: KeyRotation,
        pepper: &[u8; 32],
        action: AuditEvent,
    ) -> Result<Replacement, StoreError> {
        let token = Token::generate(TokenKind::ApiKey);
        let digest = keyed_hash(pepper, token.reveal().as_bytes());
        let (new_id, limits) = (token.id().to_owned(), self.limits());
        let (new, old, revision) = self
            .writer
            .run(move |transaction| {
                let mut old = within(transaction.connection(), &id, &action)?;
                may_have(&action, old.source_type)?;
                let making =
                    Making { what: Made::ApiKeys, tenant: old.tenant.as_str(), in_place_of: &id, limits };
                making.allow_replacement(transaction.connection(), &action, old.created_at_ms)?;
                let new = old.rotate(new_id, how, now_ms())?;
                let mut record = action.record_of(201, &new.id);
                record.tenant = old.tenant.to_string();
                transaction.record(record)?;
                insert(transaction, &new, &digest)?;
                let old_digest: [u8; 32] = transaction.connection().query_one(
                    "UPDATE api_key SET expires_at_s = ?2, replaced_by = ?3 WHERE id = ?1 RETURNING digest",
                    params![old.id, old.expires_at_s, old.replaced_by],
                    |row| row.get(0),
                )?;
                let revision = transaction.publish(&entries::of_api_key(&old, &old_digest))?;
                Ok((new, old, revision))
            })
            .await?;
        Ok(Replacement { new, old, token, revision })
    }

    /// Revokes a key; doing so again changes nothing.
    ///
    /// # Errors
    /// [`Refused::ApiKeyUnknown`], or the database fails.
    pub async fn revoke_api_key(&self, id: String, action: AuditEvent) -> Result<(ApiKey, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                within(transaction.connection(), &id, &action)?;
                let (key, revision) = revoke(transaction, &id)?;
                let mut record = action.record(200, "");
                record.tenant = key.tenant.to_string();
                transaction.record(record)?;
                Ok((key, revision))
            })
            .await
    }

    /// Keys in the order of their ids, revoked ones included, for somebody who can touch so much.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn api_keys(
        &self,
        reach: Reach,
        tenant: Option<String>,
        after: String,
        limit: usize,
    ) -> Result<Listed<ApiKey>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM api_key WHERE id > ?1 AND (CAST(?2 AS TEXT) IS NULL OR tenant = ?2)
                      AND (CAST(?4 AS TEXT) IS NULL OR tenant = ?4) ORDER BY id LIMIT ?3",
                ]
                .concat();
                let items =
                    connection.query(&sql, params![after, tenant, limit + 1, reach.bounds().0], read)?;
                Ok(Listed::new(items, limit, |key: &ApiKey| key.id.clone()))
            })
            .await
    }

    /// Writes when keys were last used; false when none was since.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; the times that are not written are lost then.
    pub async fn write_usage(&self) -> Result<bool, StoreError> {
        let mut used = self.usage.take();
        // Those that stand side by side on the database's pages are written together.
        used.sort_unstable();
        for chunk in used.chunks(times::AT_ONCE) {
            let list = times::list(chunk.iter().map(|(id, at_ms)| (id.as_str(), *at_ms)));
            let job = move |transaction: &mut Transaction<'_>| {
                let connection = transaction.connection();
                connection.execute(&times::update(connection, NOTE_USES), params![list])?;
                Ok(())
            };
            self.writer.run_bulk(job).await?;
        }
        Ok(!used.is_empty())
    }
}
