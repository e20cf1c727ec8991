//! Keys that sign tokens, identity tokens by the gateways and service tokens by this service, and when they change.
//!
//! A new key is published first. It signs once every live worker has acknowledged it and its publication is
//! old enough for caches outside the mesh. The old key stays published until its last token has ended.

use std::time::Duration;

use portcullis_model::policy::{Jwk, Jwks};
use portcullis_protocol::audit::hex;
use portcullis_protocol::snapshot::public_key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::{millis, now_ms};
use crate::random::random;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Identity tokens, at the gateways.
    Identity,
    /// Service tokens, here.
    Service,
}

impl Purpose {
    /// Its name in the API and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Service => "service",
        }
    }
}

/// An Ed25519 key and its life. It is published from its making to its removal.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// `kid`: follows from the key, so that it cannot name another.
    pub kid: String,
    /// What it signs.
    pub purpose: Purpose,
    /// Seed (RFC 8032 §5.1.5).
    pub seed: Zeroizing<[u8; 32]>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Since when it signs.
    pub signs_from_ms: Option<u64>,
    /// Since when it signs no more.
    pub signs_until_ms: Option<u64>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key that does not sign yet.
    #[must_use]
    pub fn generate(purpose: Purpose) -> Self {
        Self::from_seed(purpose, Zeroizing::new(random::<32>()), now_ms())
    }

    /// A key of this seed that does not sign yet.
    #[must_use]
    pub fn from_seed(purpose: Purpose, seed: Zeroizing<[u8; 32]>, created_at_ms: u64) -> Self {
        let kid = key_id(&public_key(*seed));
        Self { kid, purpose, seed, created_at_ms, signs_from_ms: None, signs_until_ms: None }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        public_key(*self.seed)
    }

    /// True while it is the one that signs.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.signs_from_ms.is_some() && self.signs_until_ms.is_none()
    }

    /// The public half as a JSON Web Key (RFC 8037 §2).
    #[must_use]
    pub fn jwk(&self) -> Jwk {
        use base64::Engine;
        Jwk {
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            x: Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.public())),
            kid: Some(self.kid.clone()),
            alg: Some("EdDSA".to_owned()),
            key_use: Some("sig".to_owned()),
            ..Jwk::default()
        }
    }

    /// The public halves of several keys.
    #[must_use]
    pub fn key_set<'a>(keys: impl IntoIterator<Item = &'a Self>) -> Jwks {
        Jwks { keys: keys.into_iter().map(Self::jwk).collect() }
    }
}

fn key_id(public: &[u8; 32]) -> String {
    let digest: [u8; 32] = Sha256::digest(public).into();
    hex(digest.first_chunk::<8>().unwrap_or(&[0; 8]))
}

/// A step in the life of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// A new key is published; it does not sign yet.
    Publish(SigningKey),
    /// This key signs from now on, and the one before does not.
    Activate(SigningKey),
    /// This key is gone: no token of its can be alive.
    Forget(SigningKey),
}

impl KeyChange {
    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        match self {
            Self::Publish(key) | Self::Activate(key) | Self::Forget(key) => key,
        }
    }
}

/// When a signing key changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A key signs for so long; `None`: until an operator says so.
    pub every: Option<Duration>,
    /// A new key is published for so long before it signs.
    pub publish: Duration,
    /// An old key is published for so long after it has signed last.
    pub keep: Duration,
}

/// A worker that has not acknowledged a new key for so long holds the change up no longer: by then its
/// snapshot counts as stale, and it refuses by itself.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is known of the keys of one purpose, for deciding on the next step.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// All keys.
    pub keys: &'a [SigningKey],
    /// The purpose.
    pub purpose: Purpose,
    /// When its key changes.
    pub rotation: Rotation,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Whether all live workers have the newest key.
    pub acknowledged: bool,
}

/// The step that is due, if one is.
#[must_use]
pub fn due(look: Look<'_>) -> Option<KeyChange> {
    let since = |then: u64| look.now_ms.saturating_sub(then);
    let of_purpose = || look.keys.iter().filter(|k| k.purpose == look.purpose);
    let over = |key: &&SigningKey| key.signs_until_ms.is_some_and(|t| since(t) >= millis(look.rotation.keep));
    if let Some(key) = of_purpose().find(over) {
        return Some(KeyChange::Forget(key.clone()));
    }
    if let Some(next) = of_purpose().find(|k| k.signs_from_ms.is_none()) {
        let age = since(next.created_at_ms);
        let late = age >= millis(look.rotation.publish.saturating_add(PATIENCE));
        let ready = age >= millis(look.rotation.publish) && (look.acknowledged || late);
        return ready.then(|| KeyChange::Activate(next.clone()));
    }
    let current = of_purpose().find(|k| k.signs())?;
    // Published so early that it signs when the time of the current one is over.
    let lead = look.rotation.every?.saturating_sub(look.rotation.publish);
    let old = current.signs_from_ms.is_some_and(|t| since(t) >= millis(lead));
    old.then(|| KeyChange::Publish(SigningKey::generate(look.purpose)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROTATION: Rotation = Rotation {
        every: Some(Duration::from_secs(1000)),
        publish: Duration::from_secs(100),
        keep: Duration::from_secs(60),
    };

    fn key(created: u64, from: Option<u64>, until: Option<u64>) -> SigningKey {
        SigningKey {
            created_at_ms: created * 1000,
            signs_from_ms: from.map(|s| s * 1000),
            signs_until_ms: until.map(|s| s * 1000),
            ..SigningKey::generate(Purpose::Identity)
        }
    }

    fn step(keys: &[SigningKey], now_s: u64, acknowledged: bool) -> Option<KeyChange> {
        let purpose = Purpose::Identity;
        due(Look { keys, purpose, rotation: ROTATION, now_ms: now_s * 1000, acknowledged })
    }

    #[test]
    fn a_new_key_is_published_before_the_time_of_the_old_one_is_over() {
        let keys = [key(0, Some(0), None)];
        assert_eq!(step(&keys, 899, true), None);
        assert!(matches!(step(&keys, 900, true), Some(KeyChange::Publish(_))));
        let purpose = Purpose::Identity;
        let never = Rotation { every: None, ..ROTATION };
        let look = Look { keys: &keys, purpose, rotation: never, now_ms: u64::MAX, acknowledged: true };
        assert_eq!(due(look), None);
    }

    #[test]
    fn it_signs_only_when_it_is_old_enough_and_known_everywhere() {
        let keys = [key(0, Some(0), None), key(900, None, None)];
        assert_eq!(step(&keys, 999, true), None, "caches outside the mesh may not have it");
        assert_eq!(step(&keys, 1000, false), None, "a worker has not acknowledged it");
        assert_eq!(step(&keys, 1000, true), Some(KeyChange::Activate(keys[1].clone())));
        // A worker that hangs cannot hold it up for ever.
        assert_eq!(step(&keys, 1299, false), None);
        assert_eq!(step(&keys, 1300, false), Some(KeyChange::Activate(keys[1].clone())));
    }

    #[test]
    fn the_old_key_goes_when_its_last_token_has_ended() {
        let keys = [key(0, Some(0), Some(1000)), key(900, Some(1000), None)];
        assert_eq!(step(&keys, 1059, true), None);
        assert_eq!(step(&keys, 1060, true), Some(KeyChange::Forget(keys[0].clone())));
    }

    #[test]
    fn the_keys_of_another_purpose_do_not_count() {
        let service = SigningKey { signs_from_ms: Some(0), ..SigningKey::generate(Purpose::Service) };
        assert_eq!(step(&[service], u64::MAX / 2000, true), None);
    }
}
