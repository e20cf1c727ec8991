//! The service's own secrets, made on first start, and the snapshot entries that follow from them.

use portcullis_control_domain::random::random;
use portcullis_control_domain::signing::SigningKey;
use portcullis_control_snapshot::Settings;
use portcullis_control_snapshot::entries::Entries;
use portcullis_protocol::snapshot::public_key;
use rusqlite::{Connection, OptionalExtension, params};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::signing;
use crate::seal::{Sealed, SealingKey};

/// The service's secrets, opened.
pub struct Secrets {
    /// Seed of the key that signs snapshot pages.
    pub snapshot_seed: Zeroizing<[u8; 32]>,
    /// Key of the API-key digests.
    pub api_key_pepper: Zeroizing<[u8; 32]>,
    /// Keys that sign tokens.
    pub signing_keys: Vec<SigningKey>,
}

/// True when the database holds secrets, so that its sealing key must be there.
pub(super) fn any(connection: &Connection) -> Result<bool, Failure> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM secret)", [], |row| row.get(0))?)
}

impl Secrets {
    pub(super) fn load_or_make(connection: &mut Connection, key: &SealingKey) -> Result<Self, Failure> {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let secrets = Self {
            snapshot_seed: load_or_make(&transaction, key, "snapshot_seed")?,
            api_key_pepper: load_or_make(&transaction, key, "api_key_pepper")?,
            signing_keys: signing::load_or_make(&transaction, key)?,
        };
        transaction.commit()?;
        Ok(secrets)
    }

    /// The secrets of a database that has been served from, as they are.
    pub(super) fn load(connection: &Connection, key: &SealingKey) -> Result<Self, Failure> {
        let secret = |name: &str| {
            let missing = || Failure::database(format!("the secret {name} is not there yet"));
            load(connection, key, name)?.ok_or_else(missing)
        };
        Ok(Self {
            snapshot_seed: secret("snapshot_seed")?,
            api_key_pepper: secret("api_key_pepper")?,
            signing_keys: signing::load(connection, key)?,
        })
    }

    /// What `snapshot.key` in `pluginConfig` must hold.
    #[must_use]
    pub fn snapshot_public_key(&self) -> [u8; 32] {
        public_key(*self.snapshot_seed)
    }

    /// The snapshot entries that follow from secrets and settings.
    pub(super) fn entries(&self, settings: &Settings) -> Entries {
        settings.entries(&self.signing_keys, &self.api_key_pepper)
    }
}

fn load_or_make(
    connection: &Connection,
    key: &SealingKey,
    name: &str,
) -> Result<Zeroizing<[u8; 32]>, Failure> {
    if let Some(secret) = load(connection, key, name)? {
        return Ok(secret);
    }
    let secret = Zeroizing::new(random::<32>());
    store(connection, key, name, &secret)?;
    Ok(secret)
}

/// Opens a secret that was stored.
pub(super) fn load(
    connection: &Connection,
    key: &SealingKey,
    name: &str,
) -> Result<Option<Zeroizing<[u8; 32]>>, Failure> {
    let found = connection
        .query_row("SELECT wrapped_key, ciphertext FROM secret WHERE name = ?1", [name], |row| {
            Ok(Sealed { wrapped_key: row.get(0)?, ciphertext: row.get(1)? })
        })
        .optional()?;
    let Some(sealed) = found else { return Ok(None) };
    let opened = key.open(name, &sealed)?;
    let secret = <[u8; 32]>::try_from(opened.as_slice());
    let secret = secret.map_err(|_| Failure::database(format!("the secret {name} has not 32 bytes")))?;
    Ok(Some(Zeroizing::new(secret)))
}

/// Seals and stores a secret.
pub(super) fn store(
    connection: &Connection,
    key: &SealingKey,
    name: &str,
    secret: &[u8; 32],
) -> Result<(), Failure> {
    let sealed = key.seal(name, secret)?;
    connection.execute(
        "INSERT INTO secret (name, wrapped_key, ciphertext) VALUES (?1, ?2, ?3)",
        params![name, sealed.wrapped_key, sealed.ciphertext],
    )?;
    Ok(())
}

/// Removes a secret.
pub(super) fn remove(connection: &Connection, name: &str) -> Result<(), Failure> {
    connection.execute("DELETE FROM secret WHERE name = ?1", [name])?;
    Ok(())
}
