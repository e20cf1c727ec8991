//! The service's own secrets, made on first start, and the snapshot entries that follow from them.

use std::collections::BTreeMap;

use portcullis_core::audit::hex;
use portcullis_core::snapshot::public_key;
use portcullis_core::wire::{IdentitySigner, RecordKind};
use prost::Message;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::StoreError;
use crate::seal::{Sealed, SealingKey};
use crate::tokens::random;

/// The service's secrets, opened.
pub struct Secrets {
    /// Seed of the key that signs snapshot pages.
    pub snapshot_seed: Zeroizing<[u8; 32]>,
    /// Seed of the key with which gateways sign identity tokens.
    pub identity_seed: Zeroizing<[u8; 32]>,
    /// Key of the API-key digests.
    pub api_key_pepper: Zeroizing<[u8; 32]>,
}

/// What an identity token says of its making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentitySettings {
    /// `iss`.
    pub issuer: String,
    /// Lifetime in seconds, 1–60.
    pub lifetime_s: u32,
}

/// Entries of the snapshot by kind and key.
pub(super) type Entries = Vec<(RecordKind, BTreeMap<Vec<u8>, Vec<u8>>)>;

/// True when the database holds secrets, so that its sealing key must be there.
pub(super) fn any(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM secret)", [], |row| row.get(0))?)
}

impl Secrets {
    pub(super) fn load_or_make(connection: &mut Connection, key: &SealingKey) -> Result<Self, StoreError> {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let secrets = Self {
            snapshot_seed: load_or_make(&transaction, key, "snapshot_seed")?,
            identity_seed: load_or_make(&transaction, key, "identity_seed")?,
            api_key_pepper: load_or_make(&transaction, key, "api_key_pepper")?,
        };
        transaction.commit()?;
        Ok(secrets)
    }

    /// What `snapshot.key` in `pluginConfig` must hold.
    #[must_use]
    pub fn snapshot_public_key(&self) -> [u8; 32] {
        public_key(*self.snapshot_seed)
    }

    /// The public half of the identity key.
    #[must_use]
    pub fn identity_public_key(&self) -> [u8; 32] {
        public_key(*self.identity_seed)
    }

    /// `kid` of the identity key: follows from the key, so that it cannot name another.
    #[must_use]
    pub fn identity_key_id(&self) -> String {
        let digest: [u8; 32] = Sha256::digest(self.identity_public_key()).into();
        hex(digest.first_chunk::<8>().unwrap_or(&[0; 8]))
    }

    /// The snapshot entries that follow from the secrets.
    pub(super) fn entries(&self, identity: &IdentitySettings) -> Entries {
        let kid = self.identity_key_id();
        let signer = IdentitySigner {
            key_id: kid.clone(),
            seed: self.identity_seed.to_vec(),
            issuer: identity.issuer.clone(),
            lifetime_s: identity.lifetime_s,
        };
        let one = |key: &[u8], value: Vec<u8>| BTreeMap::from([(key.to_vec(), value)]);
        vec![
            (RecordKind::IdentityKey, one(kid.as_bytes(), self.identity_public_key().to_vec())),
            (RecordKind::IdentitySigner, one(b"", signer.encode_to_vec())),
            (RecordKind::ApiKeyPepper, one(b"", self.api_key_pepper.to_vec())),
        ]
    }
}

fn load_or_make(
    connection: &Connection,
    key: &SealingKey,
    name: &str,
) -> Result<Zeroizing<[u8; 32]>, StoreError> {
    let found = connection
        .query_row("SELECT wrapped_key, ciphertext FROM secret WHERE name = ?1", [name], |row| {
            Ok(Sealed { wrapped_key: row.get(0)?, ciphertext: row.get(1)? })
        })
        .optional()?;
    if let Some(sealed) = found {
        let opened = key.open(name, &sealed)?;
        let secret = <[u8; 32]>::try_from(opened.as_slice());
        return Ok(Zeroizing::new(
            secret.map_err(|_| StoreError::Database(format!("the secret {name} has not 32 bytes")))?,
        ));
    }
    let secret = Zeroizing::new(random::<32>());
    let sealed = key.seal(name, &*secret)?;
    connection.execute(
        "INSERT INTO secret (name, wrapped_key, ciphertext) VALUES (?1, ?2, ?3)",
        params![name, sealed.wrapped_key, sealed.ciphertext],
    )?;
    Ok(secret)
}
