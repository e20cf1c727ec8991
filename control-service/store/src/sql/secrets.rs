//! The service's own secrets, made on first start, and the snapshot entries that follow from them.

use portcullis_control_domain::signing::SigningKey;
use portcullis_control_snapshot::Settings;
use portcullis_control_snapshot::entries::Entries;
use portcullis_protocol::snapshot::public_key;
use portcullis_sql::{Begun, Connection};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::{sealed, signing_keys};
use crate::seal::SealingKey;

/// Name of the seed of the key that signs snapshot pages.
pub(super) const SNAPSHOT_SEED: &str = "snapshot_seed";
/// Name of the key of the API-key digests.
pub(super) const API_KEY_PEPPER: &str = "api_key_pepper";

/// The service's secrets, opened.
pub struct Secrets {
    /// Seed of the key that signs snapshot pages.
    pub snapshot_seed: Zeroizing<[u8; 32]>,
    /// Key of the API-key digests.
    pub api_key_pepper: Zeroizing<[u8; 32]>,
    /// Keys that sign tokens.
    pub signing_keys: Vec<SigningKey>,
}

impl Secrets {
    pub(super) fn load_or_make(begun: Begun<'_>, key: &SealingKey) -> Result<Self, Failure> {
        Ok(Self {
            snapshot_seed: sealed::load_or_make(begun, key, SNAPSHOT_SEED)?,
            api_key_pepper: sealed::load_or_make(begun, key, API_KEY_PEPPER)?,
            signing_keys: signing_keys::load_or_make(begun, key)?,
        })
    }

    /// The secrets of a database that has been served from, as they are.
    pub(super) fn load(connection: &Connection, key: &SealingKey) -> Result<Self, Failure> {
        let secret = |name: &str| {
            let missing = || Failure::database(format!("the secret {name} is not there yet"));
            sealed::load(connection, key, name)?.ok_or_else(missing)
        };
        Ok(Self {
            snapshot_seed: secret(SNAPSHOT_SEED)?,
            api_key_pepper: secret(API_KEY_PEPPER)?,
            signing_keys: signing_keys::load(connection, key)?,
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
