//! The service's own authority of data clusters' certificates.

use std::sync::Arc;

use portcullis_control_domain::enrolment::StoredAuthority;
use portcullis_sql::{Connection, params};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::{Store, sealed};
use crate::StoreError;
use crate::seal::SealingKey;

/// What the names of private keys begin with.
pub(super) const SECRET: &str = "authority:";

fn load(connection: &Connection, sealing: &SealingKey) -> Result<Option<StoredAuthority>, Failure> {
    let sql = "SELECT id, certificate, created_at_ms FROM authority ORDER BY created_at_ms DESC, id LIMIT 1";
    let found = connection.query_optional(sql, params![], |row| {
        Ok((row.get::<String>(0)?, row.get::<Vec<u8>>(1)?, row.get::<u64>(2)?))
    })?;
    let Some((id, certificate, created_at_ms)) = found else { return Ok(None) };
    let missing = || Failure::database(format!("the authority {id} has no private key"));
    let key = sealed::open(connection, sealing, &[SECRET, &id].concat())?.ok_or_else(missing)?;
    Ok(Some(StoredAuthority { id, certificate, key: Zeroizing::new(key.to_vec()), created_at_ms }))
}

impl Store {
    /// The authority; the one that is offered where there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Seal`] when its key does not open, or the database fails.
    pub async fn authority(&self, offered: StoredAuthority) -> Result<StoredAuthority, StoreError> {
        self.read_sealing_key().await?;
        let sealing = Arc::clone(&self.sealing);
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                if let Some(found) = load(connection, &sealing)? {
                    return Ok(found);
                }
                sealed::store(connection, &sealing, &[SECRET, &offered.id].concat(), &offered.key)?;
                connection.execute(
                    "INSERT INTO authority (id, certificate, created_at_ms) VALUES (?1, ?2, ?3)",
                    params![offered.id, offered.certificate, offered.created_at_ms],
                )?;
                Ok(offered)
            })
            .await
    }
}
