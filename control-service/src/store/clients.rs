//! Clients of the token endpoint. Their secrets are nowhere but with their holders.

use portcullis_identity::ids::{ClientId, Role, Scope, TenantId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::revocations::revoke_tokens;
use super::transaction::AuditEvent;
use super::{Listed, Refused, Store, StoreError};
use crate::clock::now_ms;
use crate::tokens::{Token, TokenKind};

/// A client to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewServiceClient {
    /// Its id.
    pub id: ClientId,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Roles of its tokens.
    pub roles: Vec<Role>,
    /// Scopes that it may ask for.
    pub scopes: Vec<Scope>,
    /// Audiences that it may ask for.
    pub audiences: Vec<String>,
    /// Whether it may exchange somebody's token for one in which it acts for them.
    pub may_exchange: bool,
    /// Lifetime of its tokens in seconds.
    pub lifetime_s: u32,
}

/// A client as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceClient {
    /// Its id.
    pub id: String,
    /// The tenant it belongs to.
    pub tenant: String,
    /// Roles of its tokens.
    pub roles: Vec<String>,
    /// Scopes that it may ask for.
    pub scopes: Vec<String>,
    /// Audiences that it may ask for.
    pub audiences: Vec<String>,
    /// Whether it may exchange somebody's token for one in which it acts for them.
    pub may_exchange: bool,
    /// Lifetime of its tokens in seconds.
    pub lifetime_s: u32,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Until when its previous secret is good, milliseconds since the Unix epoch.
    pub previous_until_ms: Option<u64>,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: Option<u64>,
}

/// One of a client's secrets: what names it, and its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSecret {
    /// What names it.
    pub id: String,
    /// SHA-256.
    pub digest: [u8; 32],
}

const COLUMNS: &str = "id, tenant, roles, scopes, audiences, may_exchange, lifetime_s, created_at_ms,
    previous_until_ms, revoked_at_ms";

fn read(row: &Row<'_>) -> rusqlite::Result<ServiceClient> {
    // None of these contains a space, so a list of them is one text.
    let words = |at| row.get::<_, String>(at).map(|t| t.split_whitespace().map(str::to_owned).collect());
    Ok(ServiceClient {
        id: row.get(0)?,
        tenant: row.get(1)?,
        roles: words(2)?,
        scopes: words(3)?,
        audiences: words(4)?,
        may_exchange: row.get(5)?,
        lifetime_s: row.get(6)?,
        created_at_ms: row.get(7)?,
        previous_until_ms: row.get(8)?,
        revoked_at_ms: row.get(9)?,
    })
}

fn find(connection: &Connection, id: &str) -> Result<Option<ServiceClient>, StoreError> {
    let sql = ["SELECT ", COLUMNS, " FROM service_client WHERE id = ?1"].concat();
    Ok(connection.prepare_cached(&sql)?.query_row([id], read).optional()?)
}

fn find_active(connection: &Connection, id: &str) -> Result<ServiceClient, StoreError> {
    let client = find(connection, id)?.ok_or(Refused::ServiceClientUnknown)?;
    if client.revoked_at_ms.is_some() { Err(Refused::ServiceClientRevoked.into()) } else { Ok(client) }
}

impl Store {
    /// Makes a client; its secret is to be shown once.
    ///
    /// # Errors
    /// [`Refused::ServiceClientExists`], or the database fails.
    pub async fn create_service_client(
        &self,
        new: NewServiceClient,
        action: AuditEvent,
    ) -> Result<(ServiceClient, Token), StoreError> {
        let secret = Token::generate(TokenKind::ServiceClient);
        let (secret_id, digest) = (secret.id().to_owned(), secret.digest());
        let client = ServiceClient {
            id: new.id.into(),
            tenant: new.tenant.into(),
            roles: new.roles.into_iter().map(Into::into).collect(),
            scopes: new.scopes.into_iter().map(Into::into).collect(),
            audiences: new.audiences,
            may_exchange: new.may_exchange,
            lifetime_s: new.lifetime_s,
            created_at_ms: now_ms(),
            previous_until_ms: None,
            revoked_at_ms: None,
        };
        let made = client.clone();
        self.writer
            .run(move |transaction| {
                let added = transaction
                    .connection()
                    .prepare_cached(
                        "INSERT INTO service_client (id, tenant, roles, scopes, audiences, may_exchange,
                            lifetime_s, secret_id, secret_digest, created_at_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING",
                    )?
                    .execute(params![
                        client.id,
                        client.tenant,
                        client.roles.join(" "),
                        client.scopes.join(" "),
                        client.audiences.join(" "),
                        client.may_exchange,
                        client.lifetime_s,
                        secret_id,
                        digest,
                        client.created_at_ms
                    ])?;
                if added == 0 {
                    return Err(Refused::ServiceClientExists.into());
                }
                let mut record = action.record(201, "");
                record.path = [record.path.as_str(), "/", &client.id].concat();
                record.tenant = client.tenant;
                transaction.record(record)
            })
            .await?;
        Ok((made, secret))
    }

    /// Gives a client a new secret; the old one stays good for `overlap_ms`.
    ///
    /// # Errors
    /// [`Refused::ServiceClientUnknown`] or [`Refused::ServiceClientRevoked`], or the database fails.
    pub async fn rotate_service_client(
        &self,
        id: String,
        overlap_ms: u64,
        action: AuditEvent,
    ) -> Result<(ServiceClient, Token), StoreError> {
        let secret = Token::generate(TokenKind::ServiceClient);
        let (secret_id, digest) = (secret.id().to_owned(), secret.digest());
        let client = self
            .writer
            .run(move |transaction| {
                let mut client = find_active(transaction.connection(), &id)?;
                client.previous_until_ms = Some(now_ms().saturating_add(overlap_ms));
                transaction
                    .connection()
                    .prepare_cached(
                        "UPDATE service_client SET previous_id = secret_id, previous_digest = secret_digest,
                            previous_until_ms = ?2, secret_id = ?3, secret_digest = ?4 WHERE id = ?1",
                    )?
                    .execute(params![id, client.previous_until_ms, secret_id, digest])?;
                let mut record = action.record(200, "");
                record.tenant.clone_from(&client.tenant);
                transaction.record(record)?;
                Ok(client)
            })
            .await?;
        Ok((client, secret))
    }

    /// Revokes a client and every token that it got; doing so again changes nothing.
    ///
    /// # Errors
    /// [`Refused::ServiceClientUnknown`], or the database fails.
    pub async fn revoke_service_client(
        &self,
        id: String,
        action: AuditEvent,
    ) -> Result<(ServiceClient, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                let mut client = find(connection, &id)?.ok_or(Refused::ServiceClientUnknown)?;
                let mut record = action.record(200, "");
                record.tenant.clone_from(&client.tenant);
                transaction.record(record)?;
                if client.revoked_at_ms.is_some() {
                    return Ok((client, transaction.revision()));
                }
                let now = now_ms();
                client.revoked_at_ms = Some(now);
                connection
                    .prepare_cached("UPDATE service_client SET revoked_at_ms = ?2 WHERE id = ?1")?
                    .execute(params![id, now])?;
                let name = ["client:", &id].concat();
                let revision = revoke_tokens(transaction, &name, "the service client was revoked")?;
                Ok((client, revision))
            })
            .await
    }

    /// A client that may ask for tokens, and the secrets that are good now.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn service_client(
        &self,
        id: String,
    ) -> Result<Option<(ServiceClient, Vec<ClientSecret>)>, StoreError> {
        self.readers
            .run(move |connection| {
                let Some(client) = find(connection, &id)?.filter(|c| c.revoked_at_ms.is_none()) else {
                    return Ok(None);
                };
                let mut statement = connection.prepare_cached(
                    "SELECT secret_id, secret_digest FROM service_client WHERE id = ?1 UNION ALL
                     SELECT previous_id, previous_digest FROM service_client
                     WHERE id = ?1 AND previous_until_ms > ?2",
                )?;
                let rows = statement.query_map(params![id, now_ms()], |row| {
                    Ok(ClientSecret { id: row.get(0)?, digest: row.get(1)? })
                })?;
                Ok(Some((client, rows.collect::<Result<_, _>>()?)))
            })
            .await
    }

    /// Clients in the order of their ids, revoked ones included.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn service_clients(
        &self,
        tenant: Option<String>,
        after: String,
        limit: usize,
    ) -> Result<Listed<ServiceClient>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM service_client WHERE id > ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY id LIMIT ?3",
                ]
                .concat();
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(params![after, tenant, limit + 1], read)?;
                let items = rows.collect::<Result<_, _>>()?;
                Ok(Listed::new(items, limit, |client: &ServiceClient| client.id.clone()))
            })
            .await
    }
}
