//! The keys that sign tokens, as the database has them.

use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::signing::{Purpose, SigningKey};
use portcullis_sql::{Begun, Connection, params};

use super::failure::Failure;
use super::sealed;
use crate::seal::SealingKey;

/// What the names of seeds begin with.
pub(super) const SECRET: &str = "signing:";

/// What its seed is called among the secrets.
pub(super) fn secret_name(kid: &str) -> String {
    [SECRET, kid].concat()
}

/// Loads all keys; makes the first of each purpose, which signs at once, since no token is older.
pub(super) fn load_or_make(begun: Begun<'_>, sealing: &SealingKey) -> Result<Vec<SigningKey>, Failure> {
    adopt_first_identity_key(begun, sealing)?;
    let mut keys = load(&begun, sealing)?;
    for purpose in [Purpose::Identity, Purpose::Service] {
        if !keys.iter().any(|k| k.purpose == purpose && k.signs()) {
            let mut key = SigningKey::generate(purpose);
            key.signs_from_ms = Some(key.created_at_ms);
            insert(&begun, sealing, &key)?;
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Schema 1 had one identity key, as a plain secret.
fn adopt_first_identity_key(begun: Begun<'_>, sealing: &SealingKey) -> Result<(), Failure> {
    let name = "identity_seed";
    if let Some(seed) = sealed::load(&begun, sealing, name)? {
        let mut key = SigningKey::from_seed(Purpose::Identity, seed, now_ms());
        key.signs_from_ms = Some(key.created_at_ms);
        insert(&begun, sealing, &key)?;
        sealed::remove(&begun, name)?;
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

/// Removes all keys, with every seed that there is.
pub(super) fn remove_all(connection: &Connection) -> Result<(), Failure> {
    let seeds = [SECRET, "%"].concat();
    connection.execute("DELETE FROM secret WHERE name LIKE ?1", params![seeds])?;
    connection.execute("DELETE FROM signing_key", params![])?;
    Ok(())
}

pub(super) fn insert(connection: &Connection, sealing: &SealingKey, key: &SigningKey) -> Result<(), Failure> {
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
