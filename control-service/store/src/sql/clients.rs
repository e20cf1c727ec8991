//! Clients of the token endpoint. Their secrets are nowhere but with their holders.

use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::client::{ClientSecret, NewServiceClient, ServiceClient};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::limits::Made;
use portcullis_control_domain::revocation::Revocation;
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_domain::{Listed, Refused};
use portcullis_sql::{Connection, Row, SqlError, params};

use super::Store;
use super::failure::Failure;
use super::limits::Making;
use super::revocations::revoke_tokens;
use super::transaction::Transaction;
use super::words::words;
use crate::StoreError;

pub(super) const COLUMNS: &str =
    "id, tenant, roles, scopes, audiences, may_exchange, lifetime_s, created_at_ms,
    previous_until_ms, revoked_at_ms";

pub(super) fn read(row: &Row<'_>) -> Result<ServiceClient, SqlError> {
    Ok(ServiceClient {
        id: row.get(0)?,
        tenant: row.parse(1)?,
        roles: words(row, 2)?,
        scopes: words(row, 3)?,
        audiences: words(row, 4)?,
        may_exchange: row.get(5)?,
        lifetime_s: row.get(6)?,
        created_at_ms: row.get(7)?,
        previous_until_ms: row.get(8)?,
        revoked_at_ms: row.get(9)?,
    })
}

fn find(connection: &Connection, id: &str) -> Result<Option<ServiceClient>, Failure> {
    let sql = ["SELECT ", COLUMNS, " FROM service_client WHERE id = ?1"].concat();
    Ok(connection.query_optional(&sql, params![id], read)?)
}

/// A client, for whoever does this: what is beyond their reach is not there.
fn within(connection: &Connection, id: &str, action: &AuditEvent) -> Result<ServiceClient, Failure> {
    let found = find(connection, id)?.filter(|client| action.reach().has_tenant(client.tenant.as_str()));
    Ok(found.ok_or(Refused::ServiceClientUnknown)?)
}

/// Revokes a client and every token that it got; doing so again changes nothing.
pub(super) fn revoke(transaction: &mut Transaction<'_>, id: &str) -> Result<(ServiceClient, u64), Failure> {
    let connection = transaction.connection();
    let mut client = find(connection, id)?.ok_or(Refused::ServiceClientUnknown)?;
    let now = now_ms();
    if !client.revoke(now) {
        return Ok((client, transaction.revision()));
    }
    connection.execute("UPDATE service_client SET revoked_at_ms = ?2 WHERE id = ?1", params![id, now])?;
    let revision = revoke_tokens(transaction, &Revocation::of_service_client(&client.tenant, id, now))?;
    Ok((client, revision))
}

/// Ends the secrets of a client whose newest one is not known; it is good again with a new one.
pub(super) fn end_secrets(transaction: &mut Transaction<'_>, id: &str) -> Result<(), Failure> {
    let nobodys = Token::generate(TokenKind::ServiceClient);
    let changed = transaction.connection().execute(
        "UPDATE service_client SET secret_id = ?2, secret_digest = ?3, previous_id = NULL, previous_digest = NULL,
                previous_until_ms = NULL WHERE id = ?1",
        params![id, nobodys.id(), nobodys.digest()],
    )?;
    if changed == 0 { Err(Refused::ServiceClientUnknown.into()) } else { Ok(()) }
}

impl Store {
    /// Makes a client; its secret is to be shown once.
    ///
    /// # Errors
    /// [`Refused::OutOfReach`], [`Refused::LimitReached`], [`Refused::ServiceClientExists`], or the database fails.
    pub async fn create_service_client(
        &self,
        new: NewServiceClient,
        action: AuditEvent,
    ) -> Result<(ServiceClient, Token), StoreError> {
        let secret = Token::generate(TokenKind::ServiceClient);
        let (secret_id, digest) = (secret.id().to_owned(), secret.digest());
        let client = ServiceClient::made(new, now_ms());
        let (made, limits) = (client.clone(), self.limits());
        self.writer
            .run(move |transaction| {
                if !action.reach().has_tenant(client.tenant.as_str()) {
                    return Err(Refused::OutOfReach.into());
                }
                let making = Making {
                    what: Made::ServiceClients,
                    tenant: client.tenant.as_str(),
                    in_place_of: "",
                    limits,
                };
                making.allow(transaction.connection(), &action)?;
                let added = transaction.connection().execute(
                    "INSERT INTO service_client (id, tenant, roles, scopes, audiences, may_exchange,
                            lifetime_s, secret_id, secret_digest, created_at_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING",
                    params![
                        client.id,
                        client.tenant.as_str(),
                        client.roles.join(" "),
                        client.scopes.join(" "),
                        client.audiences.join(" "),
                        client.may_exchange,
                        client.lifetime_s,
                        secret_id,
                        digest,
                        client.created_at_ms
                    ],
                )?;
                if added == 0 {
                    return Err(Refused::ServiceClientExists.into());
                }
                let mut record = action.record_of(201, &client.id);
                record.tenant = client.tenant.into();
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
                let mut client = within(transaction.connection(), &id, &action)?;
                client.rotate(overlap_ms, now_ms())?;
                transaction.connection().execute(
                    "UPDATE service_client SET previous_id = secret_id, previous_digest = secret_digest,
                            previous_until_ms = ?2, secret_id = ?3, secret_digest = ?4 WHERE id = ?1",
                    params![id, client.previous_until_ms, secret_id, digest],
                )?;
                let mut record = action.record(200, "");
                record.tenant = client.tenant.to_string();
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
                within(transaction.connection(), &id, &action)?;
                let (client, revision) = revoke(transaction, &id)?;
                let mut record = action.record(200, "");
                record.tenant = client.tenant.to_string();
                transaction.record(record)?;
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
                let secrets = connection.query(
                    "SELECT secret_id, secret_digest FROM service_client WHERE id = ?1 UNION ALL
                     SELECT previous_id, previous_digest FROM service_client
                     WHERE id = ?1 AND previous_until_ms > ?2",
                    params![id, now_ms()],
                    |row| Ok(ClientSecret { id: row.get(0)?, digest: row.get(1)? }),
                )?;
                Ok(Some((client, secrets)))
            })
            .await
    }

    /// Clients in the order of their ids, revoked ones included, for somebody who can touch so much.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn service_clients(
        &self,
        reach: Reach,
        tenant: Option<String>,
        after: String,
        limit: usize,
    ) -> Result<Listed<ServiceClient>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM service_client WHERE id > ?1 AND (CAST(?2 AS TEXT) IS NULL OR tenant = ?2)
                      AND (CAST(?4 AS TEXT) IS NULL OR tenant = ?4) ORDER BY id LIMIT ?3",
                ]
                .concat();
                let items =
                    connection.query(&sql, params![after, tenant, limit + 1, reach.bounds().0], read)?;
                Ok(Listed::new(items, limit, |client: &ServiceClient| client.id.clone()))
            })
            .await
    }
}
