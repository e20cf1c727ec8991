//! API keys. The key itself is nowhere but with its holder.

use portcullis_identity::SourceType;
use portcullis_identity::ids::{Role, Scope, Subject, TenantId};
use portcullis_protocol::audit::keyed_hash;
use portcullis_protocol::wire::{self, RecordKind};
use prost::Message;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::revocations::revoke_tokens;
use super::transaction::{AuditEvent, Transaction};
use super::{Listed, Refused, Store, StoreError};
use crate::clock::now_ms;
use crate::tokens::{Token, TokenKind};

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Whom it speaks for.
    pub subject: Subject,
    /// What kind of caller holds it.
    pub source_type: SourceType,
    /// Roles.
    pub roles: Vec<Role>,
    /// Scopes.
    pub scopes: Vec<Scope>,
    /// End, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
}

/// A key as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKeyRow {
    /// Its public id.
    pub id: String,
    /// The tenant it belongs to.
    pub tenant: String,
    /// Whom it speaks for.
    pub subject: String,
    /// What kind of caller holds it.
    pub source_type: String,
    /// Roles.
    pub roles: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// End, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: Option<u64>,
    /// Its last good use as far as audit records tell, milliseconds since the Unix epoch.
    pub last_used_at_ms: Option<u64>,
    /// The key that takes its place.
    pub replaced_by: Option<String>,
}

/// A key that takes another's place.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// The new key.
    pub new: ApiKeyRow,
    /// The old key, with its end.
    pub old: ApiKeyRow,
    /// The new key's token, to be shown once.
    pub token: Token,
    /// Revision of the change.
    pub revision: u64,
}

const COLUMNS: &str = "id, tenant, subject, source_type, roles, scopes, created_at_ms, expires_at_s,
    revoked_at_ms, last_used_at_ms, replaced_by";

fn read(row: &Row<'_>) -> rusqlite::Result<ApiKeyRow> {
    // Neither roles nor scopes contain a space, so a list of them is one text.
    let words = |at| row.get::<_, String>(at).map(|t| t.split_whitespace().map(str::to_owned).collect());
    Ok(ApiKeyRow {
        id: row.get(0)?,
        tenant: row.get(1)?,
        subject: row.get(2)?,
        source_type: row.get(3)?,
        roles: words(4)?,
        scopes: words(5)?,
        created_at_ms: row.get(6)?,
        expires_at_s: row.get(7)?,
        revoked_at_ms: row.get(8)?,
        last_used_at_ms: row.get(9)?,
        replaced_by: row.get(10)?,
    })
}

fn find(connection: &Connection, id: &str) -> Result<Option<ApiKeyRow>, StoreError> {
    let sql = ["SELECT ", COLUMNS, " FROM api_key WHERE id = ?1"].concat();
    Ok(connection.prepare_cached(&sql)?.query_row([id], read).optional()?)
}

/// What filters get of a key.
fn entry(key: &ApiKeyRow) -> wire::ApiKey {
    wire::ApiKey {
        id: key.id.clone(),
        tenant: key.tenant.clone(),
        subject: key.subject.clone(),
        source_type: key.source_type.clone(),
        roles: key.roles.clone(),
        scopes: key.scopes.clone(),
        expires_at: key.expires_at_s.unwrap_or(0),
    }
}

fn insert(transaction: &mut Transaction<'_>, key: &ApiKeyRow, digest: &[u8; 32]) -> Result<u64, StoreError> {
    transaction
        .connection()
        .prepare_cached(
            "INSERT INTO api_key (id, digest, tenant, subject, source_type, roles, scopes,
                created_at_ms, expires_at_s) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            key.id,
            digest,
            key.tenant,
            key.subject,
            key.source_type,
            key.roles.join(" "),
            key.scopes.join(" "),
            key.created_at_ms,
            key.expires_at_s
        ])?;
    transaction.publish(RecordKind::ApiKey, digest, Some(&entry(key).encode_to_vec()))
}

impl Store {
    /// Makes a key; the token is to be shown once. `pepper` is the key of its digest.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn create_api_key(
        &self,
        new: NewApiKey,
        pepper: &[u8; 32],
        action: AuditEvent,
    ) -> Result<(ApiKeyRow, Token, u64), StoreError> {
        let token = Token::generate(TokenKind::ApiKey);
        let digest = keyed_hash(pepper, token.reveal().as_bytes());
        let key = ApiKeyRow {
            id: token.id().to_owned(),
            tenant: new.tenant.into(),
            subject: new.subject.into(),
            source_type: new.source_type.as_str().to_owned(),
            roles: new.roles.into_iter().map(Into::into).collect(),
            scopes: new.scopes.into_iter().map(Into::into).collect(),
            created_at_ms: now_ms(),
            expires_at_s: new.expires_at_s,
            revoked_at_ms: None,
            last_used_at_ms: None,
            replaced_by: None,
        };
        let stored = key.clone();
        let revision = self
            .writer
            .run(move |transaction| {
                let mut record = action.record(201, "");
                record.tenant.clone_from(&stored.tenant);
                record.path = [record.path.as_str(), "/", &stored.id].concat();
                transaction.record(record)?;
                insert(transaction, &stored, &digest)
            })
            .await?;
        Ok((key, token, revision))
    }

    /// Makes a key like another one, which ends after `overlap_s`. Unless `expires_at_s` says otherwise, the
    /// new key lives as long as the old one was made to.
    ///
    /// # Errors
    /// [`Refused::ApiKeyUnknown`], [`Refused::ApiKeyEnded`], or the database fails.
    pub async fn rotate_api_key(
        &self,
        id: String,
        overlap_s: u64,
        expires_at_s: Option<u64>,
        pepper: &[u8; 32],
        action: AuditEvent,
    ) -> Result<Replacement, StoreError> {
        let token = Token::generate(TokenKind::ApiKey);
        let digest = keyed_hash(pepper, token.reveal().as_bytes());
        let new_id = token.id().to_owned();
        let (new, old, revision) = self
            .writer
            .run(move |transaction| {
                let mut old = find(transaction.connection(), &id)?.ok_or(Refused::ApiKeyUnknown)?;
                let now = now_ms();
                let ended = old.expires_at_s.is_some_and(|end| end <= now / 1000);
                if old.revoked_at_ms.is_some() || ended || old.replaced_by.is_some() {
                    return Err(Refused::ApiKeyEnded.into());
                }
                let lifetime = old.expires_at_s.map(|end| end.saturating_sub(old.created_at_ms / 1000));
                let new = ApiKeyRow {
                    id: new_id,
                    created_at_ms: now,
                    expires_at_s: expires_at_s.or_else(|| lifetime.map(|s| now / 1000 + s)),
                    last_used_at_ms: None,
                    ..old.clone()
                };
                let end = (now / 1000).saturating_add(overlap_s);
                old.expires_at_s = Some(old.expires_at_s.map_or(end, |earlier| earlier.min(end)));
                old.replaced_by = Some(new.id.clone());
                let mut record = action.record(201, "");
                record.tenant.clone_from(&old.tenant);
                record.path = [record.path.as_str(), "/", &new.id].concat();
                transaction.record(record)?;
                insert(transaction, &new, &digest)?;
                let old_digest: [u8; 32] = transaction
                    .connection()
                    .prepare_cached(
                        "UPDATE api_key SET expires_at_s = ?2, replaced_by = ?3 WHERE id = ?1 RETURNING digest",
                    )?
                    .query_row(params![old.id, old.expires_at_s, old.replaced_by], |row| row.get(0))?;
                let value = entry(&old).encode_to_vec();
                let revision = transaction.publish(RecordKind::ApiKey, &old_digest, Some(&value))?;
                Ok((new, old, revision))
            })
            .await?;
        Ok(Replacement { new, old, token, revision })
    }

    /// Revokes a key; doing so again changes nothing.
    ///
    /// # Errors
    /// [`Refused::ApiKeyUnknown`], or the database fails.
    pub async fn revoke_api_key(
        &self,
        id: String,
        action: AuditEvent,
    ) -> Result<(ApiKeyRow, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                let mut key = find(transaction.connection(), &id)?.ok_or(Refused::ApiKeyUnknown)?;
                let mut record = action.record(200, "");
                record.tenant.clone_from(&key.tenant);
                transaction.record(record)?;
                if key.revoked_at_ms.is_some() {
                    return Ok((key, transaction.revision()));
                }
                key.revoked_at_ms = Some(now_ms());
                let digest: [u8; 32] = transaction
                    .connection()
                    .prepare_cached("UPDATE api_key SET revoked_at_ms = ?2 WHERE id = ?1 RETURNING digest")?
                    .query_row(params![id, key.revoked_at_ms], |row| row.get(0))?;
                // Gateways drop the key itself. Sidecars know only the identity tokens that it led to.
                revoke_tokens(transaction, &["kid:", &id].concat(), "the API key was revoked")?;
                let revision = transaction.publish(RecordKind::ApiKey, &digest, None)?;
                Ok((key, revision))
            })
            .await
    }

    /// Keys in the order of their ids, revoked ones included.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn api_keys(
        &self,
        tenant: Option<String>,
        after: String,
        limit: usize,
    ) -> Result<Listed<ApiKeyRow>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM api_key WHERE id > ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY id LIMIT ?3",
                ]
                .concat();
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(params![after, tenant, limit + 1], read)?;
                let items = rows.collect::<Result<_, _>>()?;
                Ok(Listed::new(items, limit, |key: &ApiKeyRow| key.id.clone()))
            })
            .await
    }
}
