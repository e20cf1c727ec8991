//! Which certificates there are, and which are good no more.

use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::enrolment::{IssuedCertificate, RevokedCertificate};
use portcullis_control_domain::{Listed, Refused};
use portcullis_identity::ids::ClusterId;
use portcullis_sql::params;

use super::certificates::{COLUMNS, find, read};
use super::enrolled::revoke_certificates;
use super::{Store, clusters};
use crate::StoreError;

impl Store {
    /// The certificates of a cluster in the order of their serial numbers, those that have ended lately included.
    ///
    /// # Errors
    /// [`Refused::ClusterUnknown`], or the database fails.
    pub async fn certificates(
        &self,
        reach: Reach,
        id: ClusterId,
        after: String,
        limit: usize,
    ) -> Result<Listed<IssuedCertificate>, StoreError> {
        self.readers
            .run(move |connection| {
                let cluster = clusters::within(connection, &id, &reach)?;
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM certificate WHERE cluster = ?1 AND serial > ?2 ORDER BY serial LIMIT ?3",
                ]
                .concat();
                let items = connection.query(&sql, params![id.as_str(), after, limit + 1], read)?;
                let shown = items.into_iter().map(|stored| stored.shown(cluster.tenant.clone()).certificate);
                Ok(Listed::new(shown.collect(), limit, |certificate: &IssuedCertificate| {
                    certificate.serial.clone()
                }))
            })
            .await
    }

    /// Revokes all certificates of a cluster, or the one of a serial number; returns those that were good until now.
    ///
    /// # Errors
    /// [`Refused::ClusterUnknown`], [`Refused::CertificateUnknown`], or the database fails.
    pub async fn revoke_certificates(
        &self,
        id: ClusterId,
        serial: Option<String>,
        action: AuditEvent,
    ) -> Result<Vec<IssuedCertificate>, StoreError> {
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                let cluster = clusters::within(connection, &id, &action.reach())?;
                if let Some(serial) = &serial
                    && find(connection, serial)?.is_none_or(|stored| stored.cluster != id)
                {
                    return Err(Refused::CertificateUnknown.into());
                }
                let mut revoked = Vec::new();
                for serial in revoke_certificates(connection, &id, serial.as_deref())? {
                    let stored = find(connection, &serial)?;
                    revoked.extend(stored.map(|stored| stored.shown(cluster.tenant.clone()).certificate));
                }
                let mut record = match &serial {
                    Some(serial) => action.record_of(200, serial),
                    None => action.record(200, ""),
                };
                record.cluster = cluster.id.to_string();
                record.tenant = cluster.tenant.to_string();
                transaction.record(record)?;
                Ok(revoked)
            })
            .await
    }

    /// All certificates that were revoked and have not ended, in the order of their serial numbers.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn revoked_certificates(&self) -> Result<Vec<RevokedCertificate>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql = "SELECT serial, revoked_at_ms FROM certificate
                    WHERE revoked_at_ms IS NOT NULL AND not_after_ms > ?1 ORDER BY serial";
                Ok(connection.query(sql, params![connection.now_ms()?], |row| {
                    Ok(RevokedCertificate { serial: row.get(0)?, revoked_at_ms: row.get(1)? })
                })?)
            })
            .await
    }
}
