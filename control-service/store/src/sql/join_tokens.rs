//! Join tokens, by which data clusters get their first certificate. The token itself is nowhere but with its holder.

use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::cluster::Cluster;
use portcullis_control_domain::enrolment::{
    JoinSecret, JoinToken, KEPT_MS, MAX_JOIN_TOKENS, MAX_JOIN_TOKENS_KEPT,
};
use portcullis_control_domain::{Listed, Refused};
use portcullis_identity::ids::ClusterId;
use portcullis_sql::{Connection, Row, SqlError, params};

use super::certificates::open;
use super::failure::Failure;
use super::{Store, clusters};
use crate::StoreError;

pub(super) const COLUMNS: &str = "id, cluster, created_at_ms, expires_at_ms, used_at_ms, revoked_at_ms";

pub(super) fn read(row: &Row<'_>) -> Result<JoinToken, SqlError> {
    Ok(JoinToken {
        id: row.get(0)?,
        cluster: row.parse(1)?,
        created_at_ms: row.get(2)?,
        expires_at_ms: row.get(3)?,
        used_at_ms: row.get(4)?,
        revoked_at_ms: row.get(5)?,
    })
}

fn find(connection: &Connection, id: &str) -> Result<Option<JoinToken>, Failure> {
    let sql = ["SELECT ", COLUMNS, " FROM join_token WHERE id = ?1"].concat();
    Ok(connection.query_optional(&sql, params![id], read)?)
}

/// Whether the cluster may have one more, once those are forgotten that ended long ago.
fn allow(connection: &Connection, cluster: &ClusterId, now_ms: u64) -> Result<(), Failure> {
    connection.execute(
        "DELETE FROM join_token WHERE cluster = ?1 AND expires_at_ms < ?2",
        params![cluster.as_str(), now_ms.saturating_sub(KEPT_MS)],
    )?;
    let sql =
        "SELECT count(*), count(CASE WHEN expires_at_ms > ?2 AND used_at_ms IS NULL AND revoked_at_ms IS NULL
            THEN 1 END) FROM join_token WHERE cluster = ?1";
    let (kept, waiting): (u64, u64) =
        connection.query_one(sql, params![cluster.as_str(), now_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let below = |count: u64, most: usize| usize::try_from(count).is_ok_and(|count| count < most);
    if below(waiting, MAX_JOIN_TOKENS) && below(kept, MAX_JOIN_TOKENS_KEPT) {
        Ok(())
    } else {
        Err(Refused::JoinTokensMany.into())
    }
}

/// Revokes a token; doing so again changes nothing.
pub(super) fn revoke(connection: &Connection, id: &str) -> Result<JoinToken, Failure> {
    let now_ms = connection.now_ms()?;
    connection.execute(
        "UPDATE join_token SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL",
        params![id, now_ms],
    )?;
    Ok(find(connection, id)?.ok_or(Refused::JoinTokenUnknown)?)
}

impl Store {
    /// Makes a join token of this text for a cluster, good for so many seconds by the database's clock.
    ///
    /// # Errors
    /// [`Refused::ClusterUnknown`], [`Refused::ClusterRetired`], [`Refused::JoinTokensMany`], or the database fails.
    pub async fn create_join_token(
        &self,
        id: ClusterId,
        secret: &JoinSecret,
        life_s: u64,
        action: AuditEvent,
    ) -> Result<JoinToken, StoreError> {
        let (name, digest) = (secret.id().to_owned(), secret.digest());
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                let cluster = open(connection, &id, &action.reach())?;
                let now_ms = connection.now_ms()?;
                allow(connection, &id, now_ms)?;
                let token = JoinToken {
                    id: name,
                    cluster: id,
                    created_at_ms: now_ms,
                    expires_at_ms: now_ms.saturating_add(life_s.saturating_mul(1000)),
                    used_at_ms: None,
                    revoked_at_ms: None,
                };
                connection.execute(
                    "INSERT INTO join_token (id, cluster, token_digest, created_at_ms, expires_at_ms)
                        VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        token.id,
                        token.cluster.as_str(),
                        digest,
                        token.created_at_ms,
                        token.expires_at_ms
                    ],
                )?;
                let mut record = action.record_of(201, &token.id);
                record.cluster = token.cluster.to_string();
                record.tenant = cluster.tenant.to_string();
                transaction.record(record)?;
                Ok(token)
            })
            .await
    }

    /// The join tokens of a cluster in the order of their ids, those that have ended lately included.
    ///
    /// # Errors
    /// [`Refused::ClusterUnknown`], or the database fails.
    pub async fn join_tokens(
        &self,
        reach: Reach,
        id: ClusterId,
        after: String,
        limit: usize,
    ) -> Result<Listed<JoinToken>, StoreError> {
        self.readers
            .run(move |connection| {
                clusters::within(connection, &id, &reach)?;
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM join_token WHERE cluster = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                ]
                .concat();
                let items = connection.query(&sql, params![id.as_str(), after, limit + 1], read)?;
                Ok(Listed::new(items, limit, |token: &JoinToken| token.id.clone()))
            })
            .await
    }

    /// The cluster of a join token, good or not, if there is such a token.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn cluster_of_join_token(&self, id: String) -> Result<Option<Cluster>, StoreError> {
        self.readers
            .run(move |connection| {
                let token = find(connection, &id)?;
                token.map(|token| clusters::within(connection, &token.cluster, &Reach::Platform)).transpose()
            })
            .await
    }

    /// Revokes a join token; doing so again changes nothing.
    ///
    /// # Errors
    /// [`Refused::JoinTokenUnknown`], or the database fails.
    pub async fn revoke_join_token(&self, id: String, action: AuditEvent) -> Result<JoinToken, StoreError> {
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                let found = find(connection, &id)?.ok_or(Refused::JoinTokenUnknown)?;
                let cluster =
                    clusters::within(connection, &found.cluster, &action.reach()).map_err(unknown)?;
                let token = revoke(connection, &id)?;
                let mut record = action.record(200, "");
                record.cluster = cluster.id.to_string();
                record.tenant = cluster.tenant.to_string();
                transaction.record(record)?;
                Ok(token)
            })
            .await
    }
}

/// The token of a cluster that is beyond somebody's reach is not there for them.
fn unknown(error: Failure) -> Failure {
    match error {
        Failure(StoreError::Refused(Refused::ClusterUnknown)) => Refused::JoinTokenUnknown.into(),
        other => other,
    }
}
