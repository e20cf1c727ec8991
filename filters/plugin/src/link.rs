//! One connection to the control service: the snapshot that came over it, what was derived from the
//! snapshot, and the records that go back.

use std::rc::Rc;
use std::sync::Arc;

use portcullis_audit::Journal;
use portcullis_authn::KeyRing;
use portcullis_host::{ContextId, Host, LogLevel};
use portcullis_identity::Minter;
use portcullis_model::Reason;
use portcullis_model::config::{PluginConfig, SnapshotSource};
use portcullis_model::state::{SignerEntry, SnapshotState};
use portcullis_protocol::audit::{StreamId, derive_key};

use crate::cache::IdentityCache;
use crate::introspect::Introspections;
use crate::poll::Poller;
use crate::refresh::Refreshes;
use crate::waiting::{Awaited, Waiting};

/// Name of the environment variable (`vmConfig.env`) that holds the mesh token.
pub(crate) const TOKEN_ENV: &str = "PORTCULLIS_MESH_TOKEN";

/// What makes two plugins share a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkKey {
    source: SnapshotSource,
    view: String,
}

impl LinkKey {
    /// The key of a configuration.
    #[must_use]
    pub(crate) fn of(config: &PluginConfig) -> Self {
        Self { source: config.snapshot.clone(), view: config.view() }
    }
}

/// The key of the journal's MAC: every worker of the proxy derives the same one from the mesh token.
fn journal_key(token: &str) -> [u8; 16] {
    let [low @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        derive_key(token.as_bytes(), "audit journal");
    low
}

/// One connection to the control service.
pub(crate) struct Link {
    /// Where it goes.
    pub source: SnapshotSource,
    /// The view that is asked for.
    pub view: String,
    /// The bearer token of the mesh API.
    pub token: String,
    /// Envoy's node id.
    pub proxy: String,
    /// What came over it.
    pub snapshot: SnapshotState,
    /// Prepared verification keys.
    pub keys: KeyRing,
    /// Verified identities.
    pub identities: IdentityCache,
    /// Names this start of this VM: the stream of its records, and the worker to the control service.
    pub(crate) stream: StreamId,
    /// Records on their way.
    pub(crate) journal: Journal,
    /// The long poll and the delivery of records.
    pub poller: Poller,
    /// Requests that wait.
    pub waiting: Waiting,
    /// What is known of opaque tokens.
    pub introspections: Introspections,
    /// When each issuer's keys were asked for.
    pub refreshes: Refreshes,
    /// Monotonic clock in milliseconds, as of the last tick or answer.
    pub now_ms: u64,
    minter: Option<(Arc<SignerEntry>, Rc<Minter>)>,
}

impl Link {
    /// Makes a link. `None`, with the reason in the log, when the mesh token is not there or the proxy
    /// gives no randomness.
    #[must_use]
    pub(crate) fn new(host: &dyn Host, config: &PluginConfig) -> Option<Self> {
        let Some(token) =
            host.env(TOKEN_ENV).and_then(|t| String::from_utf8(t).ok()).filter(|t| !t.is_empty())
        else {
            host.log(
                LogLevel::Critical,
                &format!("{TOKEN_ENV} is not set: add it to vmConfig.env (valueFrom: HOST) and to the proxy's environment"),
            );
            return None;
        };
        let mut random = [[0_u8; 16]; 2];
        for part in &mut random {
            host.random(part)
                .map_err(|e| host.log(LogLevel::Critical, &format!("no randomness: {e}")))
                .ok()?;
        }
        let [stream, cache_key] = random;
        let view = config.view();
        let stream = StreamId(stream);
        let space = format!("{view}.{}", config.snapshot.upstream);
        let node = |path: &[&str]| host.property(path).ok().flatten();
        let proxy = node(&["node", "id"]).or_else(|| node(&["xds", "node", "id"])).unwrap_or_default();
        Some(Self {
            source: config.snapshot.clone(),
            view,
            proxy: String::from_utf8_lossy(&proxy).into_owned(),
            snapshot: SnapshotState::default(),
            keys: KeyRing::default(),
            identities: IdentityCache::new(cache_key),
            stream,
            journal: Journal::new(stream, journal_key(&token), &space, config.audit),
            poller: Poller::default(),
            waiting: Waiting::default(),
            introspections: Introspections::default(),
            refreshes: Refreshes::default(),
            now_ms: 0,
            minter: None,
            token,
        })
    }

    /// Whether decisions may be taken by the snapshot.
    ///
    /// # Errors
    /// [`Reason::SnapshotMissing`] before the first is complete, [`Reason::SnapshotStale`] when no poll was
    /// completed for longer than the configuration allows.
    pub(crate) fn usable(&self) -> Result<(), Reason> {
        let Some(last) = self.poller.last_completed_ms().filter(|_| self.snapshot.is_complete()) else {
            return Err(Reason::SnapshotMissing);
        };
        let allowed = u64::from(self.source.stale_after_s).saturating_mul(1_000);
        if self.now_ms.saturating_sub(last) > allowed {
            return Err(Reason::SnapshotStale);
        }
        Ok(())
    }

    /// The minter of the current signing key.
    pub(crate) fn minter(&mut self) -> Option<Rc<Minter>> {
        let signer = self.snapshot.signer()?;
        if let Some((known, minter)) = &self.minter
            && Arc::ptr_eq(known, signer)
        {
            return Some(Rc::clone(minter));
        }
        let made = Minter::new(signer.seed, signer.key_id.clone(), &signer.issuer, signer.lifetime_s);
        let minter = Rc::new(made);
        self.minter = Some((Arc::clone(signer), Rc::clone(&minter)));
        Some(minter)
    }

    /// The waiting requests of a root context that can be decided now.
    pub(crate) fn take_ready(&mut self, root: u64) -> Vec<ContextId> {
        let (snapshot, introspections, refreshes) = (&self.snapshot, &self.introspections, &self.refreshes);
        self.waiting.take_ready(root, self.now_ms, |awaited| match awaited {
            Awaited::Snapshot => snapshot.is_complete(),
            Awaited::Token(digest) => !introspections.is_asking(*digest),
            Awaited::Keys(old) => {
                let issuer = old.issuer.as_str();
                let changed = snapshot.issuer(issuer).is_none_or(|current| !Arc::ptr_eq(current, old));
                changed || refreshes.failed(issuer)
            }
        })
    }
}
