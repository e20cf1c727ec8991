//! Takes each step in the life of the keys that sign tokens when it is due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use portcullis_control_config::{Config, ServiceTokens};
use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_control_domain::signing::{KeyChange, Look, Purpose, Rotation, SigningKey, due};
use portcullis_control_store::{Store, StoreError, Term};
use portcullis_identity::CredentialKind;
use portcullis_model::mapping::ClaimMapping;
use portcullis_model::policy::{Algorithm, IssuerDocument, Jwks};
use tokio::sync::{Mutex, Notify};

use crate::issuers::Issuers;
use crate::rollout::Rollout;

/// How often the keys are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// All signing keys, as they are now.
pub struct SigningKeys {
    store: Store,
    issuers: Arc<Issuers>,
    rollout: Arc<Rollout>,
    keys: RwLock<Arc<Vec<SigningKey>>>,
    /// Revision of the snapshot that holds the newest keys.
    revision: AtomicU64,
    /// The newest term in which this replica led and knew that they are published; 0 for none.
    led: AtomicU64,
    identity: Rotation,
    service: Option<ServiceTokens>,
    wake: Notify,
    refreshing: Mutex<()>,
}

impl SigningKeys {
    /// Loads the keys and publishes the service's own issuer, if it is one.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn new(
        store: Store,
        issuers: Arc<Issuers>,
        rollout: Arc<Rollout>,
        config: &Config,
    ) -> Result<Arc<Self>, StoreError> {
        let keys = Self {
            store,
            issuers,
            rollout,
            keys: RwLock::default(),
            revision: AtomicU64::default(),
            led: AtomicU64::default(),
            identity: config.identity.rotation,
            service: config.service_tokens.clone(),
            wake: Notify::new(),
            refreshing: Mutex::default(),
        };
        keys.refresh().await?;
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
    /// [`StoreError`]: refused while another change is under way, whichever replica began it.
    pub async fn begin(&self, purpose: Purpose, action: AuditEvent) -> Result<SigningKey, StoreError> {
        let key = SigningKey::generate(purpose);
        self.carry_out(None, KeyChange::Publish(key.clone()), action).await?;
        self.wake.notify_one();
        let all = self.all();
        Ok(all.iter().find(|known| known.kid == key.kid).cloned().unwrap_or(key))
    }

    /// Takes every step when it is due, while this replica leads, until it is dropped.
    pub async fn keep(&self) {
        let mut outage = OutageLog::new(
            "the signing keys cannot be kept up to date",
            "the signing keys are kept up to date again",
        );
        loop {
            match self.look().await {
                // Another replica leads now, and does it.
                Ok(()) | Err(StoreError::Superseded) => outage.worked(),
                Err(error) => outage.failed(&error),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Looks once what other replicas have changed, and takes the steps that are due as the leader.
    async fn look(&self) -> Result<(), StoreError> {
        let now_ms = self.refresh().await?;
        let Some(term) = self.store.term() else { return Ok(()) };
        self.begin_term(term).await?;
        let mut outcome = Ok(());
        for purpose in [Purpose::Identity, Purpose::Service] {
            let Some(change) = self.due(purpose, now_ms).await? else { continue };
            let action = AuditEvent {
                by: RecordedCaller::Service,
                method: "ROTATE".to_owned(),
                path: ["/signing-keys/", purpose.as_str()].concat(),
                ..AuditEvent::default()
            };
            match self.carry_out(Some(term), change, action).await {
                // Somebody has begun a change, or leads, at another replica.
                Ok(()) | Err(StoreError::Refused(Refused::RotationUnderWay) | StoreError::Superseded) => {}
                // The other purpose gets its turn all the same.
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Who led before may have gone before it had published the newest key of this service's own: what workers have
    /// acknowledged until now says nothing of it.
    async fn begin_term(&self, term: Term) -> Result<(), StoreError> {
        let _one_at_a_time = self.refreshing.lock().await;
        if self.led.load(Ordering::Acquire) == term.epoch() {
            return Ok(());
        }
        if let Some(service) = &self.service {
            let public = self.key_set(Purpose::Service);
            self.issuers.set_service_issuer(own_issuer(service, public)).await?;
        }
        self.revision.store(self.store.hub().revision(), Ordering::Release);
        self.led.store(term.epoch(), Ordering::Release);
        Ok(())
    }

    async fn due(&self, purpose: Purpose, now_ms: u64) -> Result<Option<KeyChange>, StoreError> {
        let keys = self.all();
        let Some(rotation) = self.rotation(purpose) else { return Ok(None) };
        // Others' workers are read only where it matters.
        let waits = keys.iter().any(|key| key.purpose == purpose && key.signs_from_ms.is_none());
        let revision = self.revision.load(Ordering::Acquire);
        let acknowledged = waits && self.rollout.everywhere(revision).await?;
        Ok(due(Look { keys: &keys, purpose, rotation, now_ms, acknowledged }))
    }

    async fn carry_out(
        &self,
        term: Option<Term>,
        change: KeyChange,
        action: AuditEvent,
    ) -> Result<(), StoreError> {
        let (what, kid, purpose) = match &change {
            KeyChange::Publish(key) => ("published", key.kid.clone(), key.purpose),
            KeyChange::Activate(key) => ("signs", key.kid.clone(), key.purpose),
            KeyChange::Forget(key) => ("removed", key.kid.clone(), key.purpose),
        };
        self.store.change_signing_key(term, change, action).await?;
        tracing::info!(kid, purpose = purpose.as_str(), "signing key: {what}");
        self.refresh().await.map(drop)
    }

    /// Takes over the keys as the database has them, which any replica may have changed; returns the database's time.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn refresh(&self) -> Result<u64, StoreError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let (keys, now_ms) = self.store.signing_keys_now().await?;
        if *self.all() == keys {
            return Ok(now_ms);
        }
        if let Some(service) = &self.service {
            let public = SigningKey::key_set(keys.iter().filter(|k| k.purpose == Purpose::Service));
            self.issuers.set_service_issuer(own_issuer(service, public)).await?;
        }
        // Only now: a revision of before would be acknowledged without the newest key.
        self.revision.store(self.store.hub().revision(), Ordering::Release);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(now_ms)
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
