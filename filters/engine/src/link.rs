//! What a worker keeps between requests.

use std::sync::Arc;

use portcullis_identity::{KeyId, Minter};
use portcullis_model::Reason;
use portcullis_model::policy::{IntrospectionDocument, IssuerDocument};
use portcullis_model::state::{SignerEntry, SnapshotState};

use crate::cache::IdentityCache;
use crate::guarded::Rebuild;
use crate::introspection::Introspections;
use crate::key_refresh::KeyRefreshes;
use crate::metrics::CallEnd;
use crate::open::OpenStreams;
use crate::port::{CalloutResponse, Proxy, Severity, Stream, StreamKey};
use crate::source::{Policy, PolicySource};
use crate::waiting::{Awaited, Waiting};

/// Time between two sweeps of what is kept of credentials, in milliseconds.
const SWEEP_MS: u64 = 10_000;

/// A minter and the signer that it was made from.
type Made = (Arc<SignerEntry>, Arc<Minter>);

/// A worker's own part of what decisions need: caches, questions under way, requests that wait.
pub struct Link {
    /// Where policy comes from.
    pub source: Arc<PolicySource>,
    /// Verified identities.
    pub identities: IdentityCache,
    /// Requests that wait.
    pub waiting: Waiting,
    /// Requests that were let on and are still open.
    pub open: OpenStreams,
    /// What is known of opaque tokens.
    pub introspections: Introspections,
    /// When each issuer's keys were asked for.
    pub key_refreshes: KeyRefreshes,
    /// Monotonic clock in milliseconds, as of the last tick or answer.
    pub now_ms: u64,
    minter: Option<Made>,
    /// When the log was told last of a claim.
    told_ms: Option<u64>,
    sweep_ms: u64,
    cache_key: [u8; 32],
}

impl Rebuild for Link {
    /// Requests that wait and those that are open stay: nobody would look at them any more.
    fn rebuild(&mut self) {
        let fresh = Self::new(Arc::clone(&self.source), self.cache_key);
        let waiting = std::mem::take(&mut self.waiting);
        let open = std::mem::take(&mut self.open);
        let now_ms = self.now_ms;
        *self = Self { waiting, open, now_ms, ..fresh };
    }
}

impl Link {
    /// A worker's link. `cache_key`: random, under which credentials are known in the caches.
    #[must_use]
    pub fn new(source: Arc<PolicySource>, cache_key: [u8; 32]) -> Self {
        Self {
            source,
            identities: IdentityCache::new(cache_key),
            waiting: Waiting::default(),
            open: OpenStreams::default(),
            introspections: Introspections::default(),
            key_refreshes: KeyRefreshes::default(),
            now_ms: 0,
            minter: None,
            told_ms: None,
            sweep_ms: 0,
            cache_key,
        }
    }

    /// Reads the monotonic clock.
    pub fn read_clock(&mut self, proxy: &dyn Proxy) {
        if let Ok(nanoseconds) = proxy.monotonic_ns() {
            self.now_ms = nanoseconds / 1_000_000;
        }
    }

    /// Whether the log may be told of a claim for which a token is refused: once a second.
    pub fn may_tell_of_a_claim(&mut self) -> bool {
        let may = self.told_ms.is_none_or(|last| self.now_ms.saturating_sub(last) >= 1_000);
        if may {
            self.told_ms = Some(self.now_ms);
        }
        may
    }

    /// The minter of the current signing key.
    pub fn minter(&mut self, snapshot: &SnapshotState) -> Option<Arc<Minter>> {
        let signer = snapshot.signer()?;
        if let Some((known, minter)) = &self.minter
            && Arc::ptr_eq(known, signer)
        {
            return Some(Arc::clone(minter));
        }
        let made = Minter::new(signer.seed, signer.key_id.clone(), &signer.issuer, signer.lifetime_s);
        let minter = Arc::new(made);
        self.minter = Some((Arc::clone(signer), Arc::clone(&minter)));
        Some(minter)
    }

    /// Gives up questions that nobody answers, and from time to time drops what is kept of credentials that
    /// have ended.
    pub fn tidy(&mut self, proxy: &dyn Proxy, policy: &Policy) {
        self.introspections.give_up_unanswered(self.now_ms);
        if self.now_ms < self.sweep_ms {
            return;
        }
        self.sweep_ms = self.now_ms.saturating_add(SWEEP_MS);
        self.introspections.sweep(self.now_ms);
        match proxy.wall_clock_ns() {
            Ok(now_ns) => {
                let revision = policy.snapshot.authentication_revision();
                self.identities.sweep(revision, now_ns / 1_000_000_000);
            }
            Err(error) => proxy.log(Severity::Error, &error.to_string()),
        }
    }

    /// Asks what an opaque token stands for, unless that is being asked already.
    ///
    /// # Errors
    /// As for [`Introspections`]: too many are being asked about, or nobody can be asked.
    pub fn ask(
        &mut self,
        stream: &dyn Stream,
        digest: u128,
        provider: &Arc<IntrospectionDocument>,
        token: &str,
    ) -> Result<(), Reason> {
        self.introspections.ask(&self.source, self.now_ms, stream, digest, provider, token)
    }

    /// Asks for an issuer's keys, unless that was done a moment ago or too often; whether it makes sense to wait.
    pub fn ask_for_keys(
        &mut self,
        proxy: &dyn Proxy,
        snapshot: &SnapshotState,
        document: &IssuerDocument,
        key_id: &KeyId,
    ) -> bool {
        self.key_refreshes.ask(&self.source, self.now_ms, proxy, snapshot, document, key_id)
    }

    /// Asks for an issuer's keys because a signature fitted none of them, if that was not done a moment ago.
    pub fn doubt_keys(&mut self, proxy: &dyn Proxy, snapshot: &SnapshotState, document: &IssuerDocument) {
        self.key_refreshes.doubt(&self.source, self.now_ms, proxy, snapshot, document);
    }

    /// Takes an answer to a question that a request asked; `None` when it is none.
    pub fn on_answer(&mut self, proxy: &dyn Proxy, answer: &CalloutResponse<'_>) -> Option<CallEnd> {
        let told = self.introspections.on_answer(&self.source, self.now_ms, proxy, answer);
        told.or_else(|| self.key_refreshes.on_answer(self.now_ms, proxy, answer))
    }

    /// Takes out the waiting requests of a plugin that can be decided now, so many at most.
    pub fn take_ready(&mut self, plugin: (u64, usize), policy: &Policy) -> Vec<StreamKey> {
        let (introspections, key_refreshes) = (&self.introspections, &self.key_refreshes);
        self.waiting.take_ready(plugin, self.now_ms, |awaited| match awaited {
            Awaited::Snapshot => policy.snapshot.is_complete(),
            Awaited::Token(digest) => !introspections.is_asking(*digest),
            Awaited::Keys(old) => {
                let issuer = old.issuer.as_str();
                let current = policy.snapshot.issuer(issuer);
                let changed = current.is_none_or(|current| !Arc::ptr_eq(current, old));
                changed || key_refreshes.failed(issuer)
            }
        })
    }
}
