//! Keys that sign tokens: identity tokens by the gateways, service tokens by this service.

use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::signing::{KeyChange, Purpose, SigningKey};
use portcullis_control_snapshot::entries;
use portcullis_protocol::wire::AuditRecord;
use portcullis_sql::{Connection, params};

use super::failure::Failure;
use super::leader::Term;
use super::{Store, sealed};
use crate::StoreError;
use crate::seal::SealingKey;

/// What the names of seeds begin with.
pub(super) const SECRET: &str = "signing:";

/// What its seed is called among the secrets.
fn secret_name(kid: &str) -> String {
    [SECRET, kid].concat()
}

/// Loads all keys; makes the first of each purpose, which signs at once, since no token is older.
pub(super) fn load_or_make(
    connection: &Connection,
    sealing: &SealingKey,
) -> Result<Vec<SigningKey>, Failure> {
    adopt_first_identity_key(connection, sealing)?;
    let mut keys = load(connection, sealing)?;
    for purpose in [Purpose::Identity, Purpose::Service] {
        if !keys.iter().any(|k| k.purpose == purpose && k.signs()) {
            let mut key = SigningKey::generate(purpose);
            key.signs_from_ms = Some(key.created_at_ms);
            insert(connection, sealing, &key)?;
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Schema 1 had one identity key, as a plain secret.
fn adopt_first_identity_key(connection: &Connection, sealing: &SealingKey) -> Result<(), Failure> {
    let name = "identity_seed";
    if let Some(seed) = sealed::load(connection, sealing, name)? {
        let mut key = SigningKey::from_seed(Purpose::Identity, seed, now_ms());
        key.signs_from_ms = Some(key.created_at_ms);
        insert(connection, sealing, &key)?;
        sealed::remove(connection, name)?;
    }
    Ok(())
}

pub(super) fn load(connection: &Connection, sealing: &SealingKey) -> Result<Vec<SigningKey>, Failure> {
    let sql = "SELECT kid, purpose, public, created_at_ms, signs_from_ms, signs_until_ms FROM signing_key
        ORDER BY created_at_ms, kid";
    let stored = connection.query(sql, params![], |row| {
        let purpose: String = row.get(1)?;
        Ok(Stored {
            kid: row.get(0)?,
            purpose: if purpose == "identity" { Purpose::Identity } else { Purpose::Service },
            public: row.get(2)?,
            created_at_ms: row.get(3)?,
            signs_from_ms: row.get(4)?,
            signs_until_ms: row.get(5)?,
        })
    })?;
    stored.into_iter().map(|key| key.open(connection, sealing)).collect()
}

/// A key as its table has it.
struct Stored {
    kid: String,
    purpose: Purpose,
    public: [u8; 32],
    created_at_ms: u64,
    signs_from_ms: Option<u64>,
    signs_until_ms: Option<u64>,
}

impl Stored {
    /// The key with its secret.
    fn open(self, connection: &Connection, sealing: &SealingKey) -> Result<SigningKey, Failure> {
        let Self { kid, purpose, public, created_at_ms, signs_from_ms, signs_until_ms } = self;
        let missing = || Failure::database(format!("the signing key {kid} has no secret"));
        let seed = sealed::load(connection, sealing, &secret_name(&kid))?.ok_or_else(missing)?;
        let key = SigningKey {
            signs_from_ms,
            signs_until_ms,
            ..SigningKey::from_seed(purpose, seed, created_at_ms)
        };
        if key.kid != kid || key.public() != public {
            return Err(Failure::database(format!("the signing key {kid} is not the one that was stored")));
        }
        Ok(key)
    }
}

fn insert(connection: &Connection, sealing: &SealingKey, key: &SigningKey) -> Result<(), Failure> {
    sealed::store(connection, sealing, &secret_name(&key.kid), &*key.seed)?;
    connection.execute(
        "INSERT INTO signing_key (kid, purpose, public, created_at_ms, signs_from_ms, signs_until_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            key.kid,
            key.purpose.as_str(),
            key.public(),
            key.created_at_ms,
            key.signs_from_ms,
            key.signs_until_ms
        ],
    )?;
    Ok(())
}

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
    /// All keys that sign or are still published, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a secret does not open.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        let sealing = std::sync::Arc::clone(&self.sealing);
        self.readers.run(move |connection| load(connection, &sealing)).await
    }

    /// All keys as [`Self::signing_keys`], and the time by the database's clock.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a secret does not open.
    pub async fn signing_keys_now(&self) -> Result<(Vec<SigningKey>, u64), StoreError> {
        let sealing = std::sync::Arc::clone(&self.sealing);
        self.readers.run(move |connection| Ok((load(connection, &sealing)?, connection.now_ms()?))).await
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
    /// [`Refused::RotationUnderWay`] when another new key waits, [`StoreError::Superseded`], or the database fails.
    pub async fn change_signing_key(
        &self,
        term: Option<Term>,
        change: KeyChange,
        action: AuditEvent,
    ) -> Result<u64, StoreError> {
        let (sealing, settings) =
            (std::sync::Arc::clone(&self.sealing), std::sync::Arc::clone(&self.settings));
        self.writer
            .run(move |transaction| {
                term.map_or(Ok(()), |term| transaction.is_led_by(term))?;
                let Some(status) = carry_out(transaction.connection(), &sealing, &change)? else {
                    return Ok(transaction.revision());
                };
                let key = change.key();
                let mut record = action.record(status, "");
                record.path = [record.path.as_str(), "/", &key.kid].concat();
                transaction.record(record)?;
                match entries::of_key_change(&change, &settings) {
                    Some(edit) => transaction.publish(&edit),
                    None => Ok(transaction.revision()),
                }
            })
            .await
    }
}
