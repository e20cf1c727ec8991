//! The keys that sign tokens, and how they change without a token being refused.
//!
//! A new key is published first. It signs once every live worker has acknowledged it and its publication is
//! old enough for caches outside the mesh. The old key stays published until its last token has ended.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use portcullis_identity::CredentialKind;
use portcullis_model::mapping::ClaimMapping;
use portcullis_model::policy::{Algorithm, IssuerDocument, Jwks};
use tokio::sync::Notify;

use crate::clock::now_ms;
use crate::config::{Config, Rotation, ServiceTokens};
use crate::issuers::Issuers;
use crate::snapshot::Workers;
use crate::store::{AuditEvent, KeyChange, Purpose, SigningKey, Store, StoreError};

/// How often the keys are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A worker that has not acknowledged a new key for so long holds the change up no longer: by then its
/// snapshot counts as stale, and it refuses by itself.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is known of the keys of one purpose, for deciding on the next step.
#[derive(Debug, Clone, Copy)]
struct Look<'a> {
    keys: &'a [SigningKey],
    purpose: Purpose,
    rotation: Rotation,
    now_ms: u64,
    /// Whether all live workers have the newest key.
    acknowledged: bool,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The step that is due, if one is.
fn due(look: Look<'_>) -> Option<KeyChange> {
    let since = |then: u64| look.now_ms.saturating_sub(then);
    let of_purpose = || look.keys.iter().filter(|k| k.purpose == look.purpose);
    let over = |key: &&SigningKey| key.signs_until_ms.is_some_and(|t| since(t) >= ms(look.rotation.keep));
    if let Some(key) = of_purpose().find(over) {
        return Some(KeyChange::Forget(key.clone()));
    }
    if let Some(next) = of_purpose().find(|k| k.signs_from_ms.is_none()) {
        let age = since(next.created_at_ms);
        let late = age >= ms(look.rotation.publish.saturating_add(PATIENCE));
        let ready = age >= ms(look.rotation.publish) && (look.acknowledged || late);
        return ready.then(|| KeyChange::Activate(next.clone()));
    }
    let current = of_purpose().find(|k| k.signs())?;
    // Published so early that it signs when the time of the current one is over.
    let lead = look.rotation.every?.saturating_sub(look.rotation.publish);
    let old = current.signs_from_ms.is_some_and(|t| since(t) >= ms(lead));
    old.then(|| KeyChange::Publish(SigningKey::generate(look.purpose)))
}

/// All signing keys, as they are now.
pub struct SigningKeys {
    store: Store,
    issuers: Arc<Issuers>,
    workers: Arc<Workers>,
    keys: RwLock<Arc<Vec<SigningKey>>>,
    /// Revision of the snapshot that holds the newest keys.
    revision: std::sync::atomic::AtomicU64,
    identity: Rotation,
    service: Option<ServiceTokens>,
    wake: Notify,
}

impl SigningKeys {
    /// Loads the keys and publishes the service's own issuer, if it is one.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn new(
        store: Store,
        issuers: Arc<Issuers>,
        workers: Arc<Workers>,
        config: &Config,
    ) -> Result<Arc<Self>, StoreError> {
        let keys = Self {
            store,
            issuers,
            workers,
            keys: RwLock::default(),
            revision: std::sync::atomic::AtomicU64::default(),
            identity: config.identity.rotation,
            service: config.service_tokens.clone(),
            wake: Notify::new(),
        };
        keys.reload().await?;
        Ok(Arc::new(keys))
    }

    /// All keys, oldest first.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<SigningKey>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that signs now.
    #[must_use]
    pub fn current(&self, purpose: Purpose) -> Option<SigningKey> {
        self.all().iter().find(|k| k.purpose == purpose && k.signs()).cloned()
    }

    /// The published keys of a purpose.
    #[must_use]
    pub fn key_set(&self, purpose: Purpose) -> Jwks {
        SigningKey::key_set(self.all().iter().filter(|k| k.purpose == purpose))
    }

    /// How long a copy of a key set may be used: half of the time for which a key is published before it
    /// signs.
    #[must_use]
    pub fn max_age(&self, purpose: Purpose) -> Duration {
        self.rotation(purpose).map_or(Duration::ZERO, |r| r.publish / 2)
    }

    /// The service's own tokens, if it gives out any.
    #[must_use]
    pub fn service_tokens(&self) -> Option<&ServiceTokens> {
        self.service.as_ref()
    }

    fn rotation(&self, purpose: Purpose) -> Option<Rotation> {
        match purpose {
            Purpose::Identity => Some(self.identity),
            Purpose::Service => self.service.as_ref().map(|s| s.rotation),
        }
    }

    /// Begins a change of key now.
    ///
    /// # Errors
    /// [`StoreError`]: refused while another change is under way.
    pub async fn begin(&self, purpose: Purpose, action: AuditEvent) -> Result<SigningKey, StoreError> {
        let key = SigningKey::generate(purpose);
        self.carry_out(KeyChange::Publish(key.clone()), action).await?;
        self.wake.notify_one();
        Ok(key)
    }

    /// Takes every step when it is due, until it is dropped.
    pub async fn keep(&self) {
        loop {
            for purpose in [Purpose::Identity, Purpose::Service] {
                let Some(change) = self.due(purpose) else { continue };
                let action = AuditEvent {
                    subject: "control-service".to_owned(),
                    method: "ROTATE".to_owned(),
                    path: ["/signing-keys/", purpose.as_str()].concat(),
                    ..AuditEvent::default()
                };
                if let Err(error) = self.carry_out(change, action).await {
                    tracing::error!(%error, purpose = purpose.as_str(), "a signing key could not be changed");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    fn due(&self, purpose: Purpose) -> Option<KeyChange> {
        let keys = self.all();
        let rotation = self.rotation(purpose)?;
        let revision = self.revision.load(std::sync::atomic::Ordering::Acquire);
        let acknowledged = self.workers.everywhere(revision);
        due(Look { keys: &keys, purpose, rotation, now_ms: now_ms(), acknowledged })
    }

    async fn carry_out(&self, change: KeyChange, action: AuditEvent) -> Result<(), StoreError> {
        let (what, kid, purpose) = match &change {
            KeyChange::Publish(key) => ("published", key.kid.clone(), key.purpose),
            KeyChange::Activate(key) => ("signs", key.kid.clone(), key.purpose),
            KeyChange::Forget(key) => ("removed", key.kid.clone(), key.purpose),
        };
        self.store.change_signing_key(change, action).await?;
        tracing::info!(kid, purpose = purpose.as_str(), "signing key: {what}");
        self.reload().await
    }

    async fn reload(&self) -> Result<(), StoreError> {
        let keys = Arc::new(self.store.signing_keys().await?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        if let Some(service) = &self.service {
            self.issuers.set_service_issuer(own_issuer(service, self.key_set(Purpose::Service))).await?;
        }
        self.revision.store(self.store.hub().revision(), std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

/// The service as an issuer of credentials.
fn own_issuer(service: &ServiceTokens, jwks: Jwks) -> IssuerDocument {
    IssuerDocument {
        issuer: service.issuer.clone(),
        aliases: Vec::new(),
        issuer_values: Vec::new(),
        jwt_svid: false,
        audiences: service.audiences.clone(),
        algorithms: vec![Algorithm::EdDSA],
        jwks,
        leeway_seconds: 5,
        max_age_seconds: 0,
        claims: ClaimMapping::default(),
        credential: CredentialKind::ServiceToken,
        // RFC 9068 §2.1: nothing else that this key may ever sign passes for an access token.
        token_types: vec!["at+jwt".to_owned()],
        any_token_use: false,
        max_token_bytes: 0,
        required_claims: Vec::new(),
        // Each client has its own tenant, and nobody but this service says which.
        tenants: Vec::new(),
        introspection: None,
        keys_expired: false,
    }
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
