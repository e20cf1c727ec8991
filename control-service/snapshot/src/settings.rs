//! What of the configuration and of the service's own secrets becomes entries before anything is served.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_control_domain::signing::{KeyChange, Purpose, SigningKey};
use portcullis_protocol::wire::{IdentitySigner, RecordKind};
use prost::Message;

use crate::entries::{Edit, Entries, OfKind};

/// What of the configuration becomes entries of the snapshot before anything is served.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `iss` of identity tokens.
    pub identity_issuer: String,
    /// Lifetime of identity tokens in seconds, 1–60.
    pub identity_lifetime_s: u32,
    /// Shared secrets by issuer.
    pub issuer_secrets: OfKind,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("identity_issuer", &self.identity_issuer).finish_non_exhaustive()
    }
}

impl Settings {
    /// The entry by which gateways sign with a key.
    #[must_use]
    pub fn signer(&self, key: &SigningKey) -> Vec<u8> {
        let signer = IdentitySigner {
            key_id: key.kid.clone(),
            seed: key.seed.to_vec(),
            issuer: self.identity_issuer.clone(),
            lifetime_s: self.identity_lifetime_s,
        };
        signer.encode_to_vec()
    }

    /// What filters get of a step in the life of a signing key. Of a key of service tokens it is the issuer's document
    /// with the new set, which who keeps the issuers publishes.
    #[must_use]
    pub fn of_key_change(&self, change: &KeyChange) -> Option<Edit> {
        let kid = change.key().kid.as_bytes();
        (change.key().purpose == Purpose::Identity).then(|| match change {
            KeyChange::Publish(key) => Edit::put(RecordKind::IdentityKey, kid, key.public().to_vec()),
            KeyChange::Activate(key) => Edit::put(RecordKind::IdentitySigner, b"", self.signer(key)),
            KeyChange::Forget(_) => Edit::remove(RecordKind::IdentityKey, kid),
        })
    }

    /// The entries that follow from these settings and the service's own secrets.
    #[must_use]
    pub fn entries(&self, signing_keys: &[SigningKey], api_key_pepper: &[u8; 32]) -> Entries {
        let one = |key: &[u8], value: Vec<u8>| BTreeMap::from([(key.to_vec(), value)]);
        let identity = || signing_keys.iter().filter(|k| k.purpose == Purpose::Identity);
        let signer = identity().find(|k| k.signs());
        let public = identity().map(|k| (k.kid.as_bytes().to_vec(), k.public().to_vec())).collect();
        vec![
            (RecordKind::IdentityKey, public),
            (RecordKind::IdentitySigner, signer.map(|k| one(b"", self.signer(k))).unwrap_or_default()),
            (RecordKind::ApiKeyPepper, one(b"", api_key_pepper.to_vec())),
            (RecordKind::IssuerSecret, self.issuer_secrets.clone()),
        ]
    }
}
