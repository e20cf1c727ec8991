//! The lives of the keys that sign tokens: identity tokens by the gateways, service tokens by this service.

use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::signing::{KeyChange, SigningKey};
use portcullis_protocol::wire::AuditRecord;
use portcullis_sql::{Connection, params};

use super::failure::Failure;
use super::leader::Term;
use super::signing_keys::{insert, load, secret_name};
use super::{Store, sealed};
use crate::StoreError;
use crate::seal::SealingKey;

/// Writes a step down; returns the status of its audit record, or `None` where another replica has taken it already.
fn carry_out(
    connection: &Connection,
    sealing: &SealingKey,
    change: &KeyChange,
) -> Result<Option<u16>, Failure> {
    let now = connection.now_ms()?;
    match change {
        KeyChange::Publish(key) => {
            let waits: bool = connection.query_one(
                "SELECT EXISTS (SELECT 1 FROM signing_key WHERE purpose = ?1 AND signs_from_ms IS NULL)",
                params![key.purpose.as_str()],
                |row| row.get(0),
            )?;
            if waits {
                return Err(Refused::RotationUnderWay.into());
            }
            insert(connection, sealing, &SigningKey { created_at_ms: now, ..key.clone() })?;
            Ok(Some(201))
        }
        KeyChange::Activate(key) => {
            let waits: bool = connection.query_one(
                "SELECT EXISTS (SELECT 1 FROM signing_key WHERE kid = ?1 AND signs_from_ms IS NULL)",
                params![key.kid],
                |row| row.get(0),
            )?;
            if !waits {
                return Ok(None);
            }
            connection.execute(
                "UPDATE signing_key SET signs_until_ms = ?2
                 WHERE purpose = ?1 AND signs_from_ms IS NOT NULL AND signs_until_ms IS NULL",
                params![key.purpose.as_str(), now],
            )?;
            connection
                .execute("UPDATE signing_key SET signs_from_ms = ?2 WHERE kid = ?1", params![key.kid, now])?;
            Ok(Some(200))
        }
        KeyChange::Forget(key) => {
            let gone = connection.execute("DELETE FROM signing_key WHERE kid = ?1", params![key.kid])?;
            sealed::remove(connection, &secret_name(&key.kid))?;
            Ok((gone == 1).then_some(200))
        }
    }
}

impl Store {
    /// All keys that sign or are still published, oldest first, and the time by the database's clock.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a secret does not open.
    pub async fn signing_keys_now(&self) -> Result<(Vec<SigningKey>, u64), StoreError> {
        let sealing = std::sync::Arc::clone(&self.sealing);
        let now = move |connection: &Connection| {
            let keys = sealed::opening(&sealing, || load(connection, &sealing))?;
            Ok((keys, connection.now_ms()?))
        };
        self.readers.run(now).await
    }

    /// Adds the record of a token that a key has signed; false when that key is not the one that signs any more, and
    /// nothing is recorded.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn record_token(&self, kid: String, record: AuditRecord) -> Result<bool, StoreError> {
        self.writer
            .run(move |transaction| {
                let signs: bool = transaction.connection().query_one(
                    "SELECT EXISTS (SELECT 1 FROM signing_key
                        WHERE kid = ?1 AND signs_from_ms IS NOT NULL AND signs_until_ms IS NULL)",
                    params![kid],
                    |row| row.get(0),
                )?;
                if signs {
                    transaction.record(record)?;
                }
                Ok(signs)
            })
            .await
    }

    /// Makes a step in the life of a key, with what gateways and sidecars see of it: as the leader, if nobody asked for it.
    /// One that another replica has made already changes nothing.
    ///
    /// # Errors
    /// [`Refused::RotationUnderWay`] when another new key waits, [`StoreError::Superseded`], [`StoreError::Seal`], or the
    /// database fails.
    pub async fn change_signing_key(
        &self,
        term: Option<Term>,
        change: KeyChange,
        action: AuditEvent,
    ) -> Result<u64, StoreError> {
        self.read_sealing_key().await?;
        let (sealing, settings) =
            (std::sync::Arc::clone(&self.sealing), std::sync::Arc::clone(&self.settings));
        self.writer
            .run(move |transaction| {
                term.map_or(Ok(()), |term| transaction.is_led_by(term))?;
                let Some(status) = carry_out(transaction.connection(), &sealing, &change)? else {
                    return Ok(transaction.revision());
                };
                let key = change.key();
                transaction.record(action.record_of(status, &key.kid))?;
                match settings.of_key_change(&change) {
                    Some(edit) => transaction.publish(&edit),
                    None => Ok(transaction.revision()),
                }
            })
            .await
    }
}
