//! Certificates that were issued to data clusters: who may have one, which there are, and which were revoked.

use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::cluster::{Administrative, Cluster};
use portcullis_control_domain::enrolment::{
    Asked, AskedBy, Issue, IssuedCertificate, IssuedFor, KEPT_MS, MAX_CERTIFICATES_KEPT, SAME_ANSWER_MS,
    SignedCertificate,
};
use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_protocol::audit::hex;
use portcullis_sql::{Connection, Row, SqlError, params};
use subtle::ConstantTimeEq;

use super::failure::Failure;
use super::{Store, clusters};
use crate::StoreError;

pub(super) const COLUMNS: &str =
    "serial, cluster, key_digest, issued_for, issued_by, issued_at_ms, not_after_ms,
    renew_after_ms, revoked_at_ms, chain";

/// A certificate as its table has it.
pub(super) struct Stored {
    pub(super) serial: String,
    pub(super) cluster: ClusterId,
    pub(super) key_digest: [u8; 32],
    issued_for: IssuedFor,
    issued_by: String,
    issued_at_ms: u64,
    pub(super) not_after_ms: u64,
    renew_after_ms: u64,
    pub(super) revoked_at_ms: Option<u64>,
    chain: String,
}

pub(super) fn read(row: &Row<'_>) -> Result<Stored, SqlError> {
    Ok(Stored {
        serial: row.get(0)?,
        cluster: row.parse(1)?,
        key_digest: row.get(2)?,
        issued_for: row.parse(3)?,
        issued_by: row.get(4)?,
        issued_at_ms: row.get(5)?,
        not_after_ms: row.get(6)?,
        renew_after_ms: row.get(7)?,
        revoked_at_ms: row.get(8)?,
        chain: row.get(9)?,
    })
}

impl Stored {
    /// As the API shows it: a certificate of a cluster of this tenant.
    pub(super) fn shown(self, tenant: TenantId) -> Issue {
        let certificate = IssuedCertificate {
            serial: self.serial,
            cluster: self.cluster,
            tenant,
            key_digest: hex(&self.key_digest),
            issued_for: self.issued_for,
            issued_by: self.issued_by,
            issued_at_ms: self.issued_at_ms,
            not_after_ms: self.not_after_ms,
            revoked_at_ms: self.revoked_at_ms,
        };
        Issue { certificate, renew_after_ms: self.renew_after_ms, chain: self.chain }
    }
}

pub(super) fn find(connection: &Connection, serial: &str) -> Result<Option<Stored>, Failure> {
    let sql = ["SELECT ", COLUMNS, " FROM certificate WHERE serial = ?1"].concat();
    Ok(connection.query_optional(&sql, params![serial], read)?)
}

/// A cluster that may have certificates, for somebody who can touch so much.
pub(super) fn open(connection: &Connection, id: &ClusterId, reach: &Reach) -> Result<Cluster, Failure> {
    let cluster = clusters::within(connection, id, reach)?;
    if cluster.administrative == Administrative::Retired {
        return Err(Refused::ClusterRetired.into());
    }
    Ok(cluster)
}

/// The cluster that a certificate is good for.
fn holder(connection: &Connection, stored: &Stored) -> Result<Cluster, Failure> {
    if stored.revoked_at_ms.is_some() {
        return Err(Refused::CertificateRevoked.into());
    }
    open(connection, &stored.cluster, &Reach::Platform)
}

/// What was issued to this key by the same thing lately, if it is still good.
fn again(
    connection: &Connection,
    by: &AskedBy,
    key: &[u8; 32],
    now_ms: u64,
) -> Result<Option<Stored>, Failure> {
    let sql = [
        "SELECT ",
        COLUMNS,
        " FROM certificate WHERE issued_by = ?1 AND issued_for = ?2 AND key_digest = ?3 AND revoked_at_ms IS NULL
            AND issued_at_ms > ?4 ORDER BY issued_at_ms DESC LIMIT 1",
    ]
    .concat();
    let since = now_ms.saturating_sub(SAME_ANSWER_MS);
    Ok(connection.query_optional(&sql, params![by.id(), by.kind().as_str(), key, since], read)?)
}

/// A join token as it matters to whoever joins.
struct Joining {
    cluster: ClusterId,
    digest: [u8; 32],
    ended: bool,
    used: bool,
}

fn joining(connection: &Connection, id: &str, now_ms: u64) -> Result<Option<Joining>, Failure> {
    let sql = "SELECT cluster, token_digest, expires_at_ms, used_at_ms, revoked_at_ms FROM join_token WHERE id = ?1";
    Ok(connection.query_optional(sql, params![id], |row| {
        let revoked: Option<u64> = row.get(4)?;
        let used: Option<u64> = row.get(3)?;
        Ok(Joining {
            cluster: row.parse(0)?,
            digest: row.get(1)?,
            ended: revoked.is_some() || row.get::<u64>(2)? <= now_ms,
            used: used.is_some(),
        })
    })?)
}

/// Whether this key can have a certificate by what it asks by.
fn asked(connection: &Connection, by: &AskedBy, key: &[u8; 32], now_ms: u64) -> Result<Asked, Failure> {
    let cluster = match by {
        AskedBy::JoinToken { id, digest } => {
            let found = joining(connection, id, now_ms)?;
            let token = found.filter(|token| token.digest.ct_eq(digest).into());
            let token = token.ok_or(Refused::JoinTokenUnknown)?;
            let cluster = open(connection, &token.cluster, &Reach::Platform)?;
            match (token.used, token.ended) {
                (true, _) => {
                    let stored = again(connection, by, key, now_ms)?.ok_or(Refused::JoinTokenUsed)?;
                    return Ok(Asked::Again(Box::new(stored.shown(cluster.tenant))));
                }
                (false, true) => return Err(Refused::JoinTokenEnded.into()),
                (false, false) => cluster,
            }
        }
        AskedBy::Certificate { serial } => {
            let found = find(connection, serial)?.ok_or(Refused::CertificateUnknown)?;
            let cluster = holder(connection, &found)?;
            if let Some(stored) = again(connection, by, key, now_ms)? {
                return Ok(Asked::Again(Box::new(stored.shown(cluster.tenant))));
            }
            let sql = "SELECT count(*) FROM certificate WHERE cluster = ?1 AND not_after_ms > ?2";
            let since = now_ms.saturating_sub(KEPT_MS);
            let many: u64 =
                connection.query_one(sql, params![cluster.id.as_str(), since], |row| row.get(0))?;
            if usize::try_from(many).unwrap_or(usize::MAX) >= MAX_CERTIFICATES_KEPT {
                return Err(Refused::CertificatesMany.into());
            }
            cluster
        }
    };
    Ok(Asked::May(cluster.id, cluster.tenant))
}

/// Writes a certificate down. Of several that ask by one join token at once, at any replica, one gets here: there is one
/// writer at a time, and the token is used then.
fn insert(
    connection: &Connection,
    by: &AskedBy,
    cluster: &ClusterId,
    signed: &SignedCertificate,
    now_ms: u64,
) -> Result<(), Failure> {
    if let AskedBy::JoinToken { id, .. } = by {
        let used = connection.execute(
            "UPDATE join_token SET used_at_ms = ?2, key_digest = ?3 WHERE id = ?1 AND used_at_ms IS NULL",
            params![id, now_ms, signed.key_digest],
        )?;
        if used != 1 {
            return Err(Refused::JoinTokenUsed.into());
        }
    }
    connection.execute(
        "DELETE FROM certificate WHERE cluster = ?1 AND not_after_ms <= ?2",
        params![cluster.as_str(), now_ms.saturating_sub(KEPT_MS)],
    )?;
    connection.execute(
        "INSERT INTO certificate (serial, cluster, key_digest, issued_for, issued_by, issued_at_ms, not_after_ms,
                renew_after_ms, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            signed.serial,
            cluster.as_str(),
            signed.key_digest,
            by.kind().as_str(),
            by.id(),
            now_ms,
            signed.not_after_ms,
            signed.renew_after_ms,
            signed.chain
        ],
    )?;
    Ok(())
}

impl Store {
    /// Whether this key can have a certificate. Nothing is changed by asking.
    ///
    /// # Errors
    /// [`Refused`] says why not, or the database fails.
    pub async fn may_have_certificate(&self, by: AskedBy, key_digest: [u8; 32]) -> Result<Asked, StoreError> {
        self.readers.run(move |connection| asked(connection, &by, &key_digest, connection.now_ms()?)).await
    }

    /// Writes down a certificate that was signed, and uses up the join token by which it was asked for: of several that ask
    /// at once, one gets it. Where the same key was given one meanwhile, that one is returned.
    ///
    /// # Errors
    /// [`Refused`] says why nobody may have it, or the database fails. It must not be given out then.
    pub async fn issue_certificate(
        &self,
        by: AskedBy,
        signed: SignedCertificate,
        action: AuditEvent,
    ) -> Result<Issue, StoreError> {
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                let now_ms = connection.now_ms()?;
                let (cluster, tenant) = match asked(connection, &by, &signed.key_digest, now_ms)? {
                    Asked::Again(issue) => return Ok(*issue),
                    Asked::May(cluster, tenant) => (cluster, tenant),
                };
                insert(connection, &by, &cluster, &signed, now_ms)?;
                let mut record = action.record_of(200, &signed.serial);
                record.cluster = cluster.to_string();
                record.tenant = tenant.to_string();
                transaction.record(record)?;
                let stored = find(connection, &signed.serial)?;
                let stored = stored.ok_or_else(|| Failure::database("the certificate was not written"))?;
                Ok(stored.shown(tenant))
            })
            .await
    }

    /// The cluster of a certificate, good or not, if there is such a certificate.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn cluster_of_certificate(&self, serial: String) -> Result<Option<Cluster>, StoreError> {
        self.readers
            .run(move |connection| {
                let stored = find(connection, &serial)?;
                stored
                    .map(|stored| clusters::within(connection, &stored.cluster, &Reach::Platform))
                    .transpose()
            })
            .await
    }

    /// The cluster that a certificate of this key is good for, as it is now.
    ///
    /// # Errors
    /// [`Refused::CertificateUnknown`], [`Refused::CertificateRevoked`], [`Refused::ClusterRetired`], or the database
    /// fails.
    pub async fn holder_of_certificate(
        &self,
        serial: String,
        key_digest: [u8; 32],
    ) -> Result<Cluster, StoreError> {
        self.readers
            .run(move |connection| {
                let found = find(connection, &serial)?.filter(|stored| stored.key_digest == key_digest);
                holder(connection, &found.ok_or(Refused::CertificateUnknown)?)
            })
            .await
    }
}
