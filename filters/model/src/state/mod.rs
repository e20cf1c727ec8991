//! What a reader holds of the snapshot, kept current by pages.

mod changes;
mod entries;
mod issuers;
mod records;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_identity::{ClusterId, SpiffeId, TenantId};
use portcullis_protocol::snapshot::{PageError, VerifiedPage, revocation_digest};
use portcullis_protocol::wire;
use prost::Message;

pub use self::changes::{ChangeLog, Ground};
use self::entries::api_key_entry;
pub use self::entries::{ApiKeyEntry, ClusterEntry, Secret, SignerEntry};
pub use self::issuers::TokenIssuer;
use crate::issuer::IssuerNames;
use crate::policy::{IntrospectionDocument, IssuerDocument, SourceRulesDocument, WorkloadEntry};
use crate::resources::Resources;

/// The next number of [`SnapshotState::contents`].
static NEXT_CONTENTS: AtomicU64 = AtomicU64::new(1);

/// An API key as it is held: encoded, because a hundred thousand of them must fit into a worker, and
/// each is decoded only when its holder comes for the first time.
struct HeldApiKey {
    encoded: Box<[u8]>,
    epoch: u8,
}

/// An issuer, with its names parsed.
struct HeldIssuer {
    document: Arc<IssuerDocument>,
    names: IssuerNames,
    epoch: u8,
}

/// What applying a page did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Something changed by which credentials are judged: caches of identities must be judged again.
    pub authentication_changed: bool,
    /// Entries that could not be read; each closes what it would have opened. For the log.
    pub unreadable: Vec<String>,
}

/// A reader's copy of the snapshot.
#[derive(Default)]
pub struct SnapshotState {
    generation: Vec<u8>,
    revision: u64,
    contents: u64,
    changes: ChangeLog,
    cursor: Vec<u8>,
    complete: bool,
    epoch: u8,
    authentication_revision: u64,
    tenants: HashMap<Box<str>, Arc<TenantId>>,
    issuers: HashMap<Box<str>, HeldIssuer>,
    source_rules: Arc<SourceRulesDocument>,
    introspections: HashMap<Box<str>, (Arc<IntrospectionDocument>, u8)>,
    workloads: HashMap<SpiffeId, (Arc<WorkloadEntry>, u8)>,
    issuer_secrets: HashMap<Box<str>, (Arc<Secret>, u8)>,
    clusters: HashMap<ClusterId, ClusterEntry>,
    api_keys: HashMap<[u8; 32], HeldApiKey>,
    revocations: HashMap<Box<str>, u8>,
    revocation_digests: HashMap<[u8; 32], u8>,
    identity_keys: HashMap<Box<str>, ([u8; 32], u8)>,
    signer: Option<Arc<SignerEntry>>,
    pepper: Option<[u8; 32]>,
    resources: (Arc<Resources>, u8),
}

impl std::fmt::Debug for SnapshotState {
    /// Without the entries: some are secrets, and others name people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotState")
            .field("revision", &self.revision)
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

impl SnapshotState {
    /// Name of the store's life, empty before the first page.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> &[u8] {
        &self.generation
    }

    /// Revision reached.
    #[inline]
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Names what the snapshot says now: no other contents have had this number in this process, not those of
    /// another snapshot either. What was decided by them may be remembered as long as it stays. 0: nothing yet.
    #[inline]
    #[must_use]
    pub fn contents(&self) -> u64 {
        self.contents
    }

    /// What changed so far.
    #[inline]
    #[must_use]
    pub fn changes(&self) -> &ChangeLog {
        &self.changes
    }

    /// Where a full resync goes on; empty when none is under way.
    #[must_use]
    pub fn cursor(&self) -> &[u8] {
        &self.cursor
    }

    /// True once a first full resync and the delta after it were applied: decisions may be taken.
    #[inline]
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Changes whenever something changed by which credentials are judged.
    #[inline]
    #[must_use]
    pub fn authentication_revision(&self) -> u64 {
        self.authentication_revision
    }

    /// The provider that is asked about opaque tokens that begin like this one: the one with the longest
    /// fitting prefix.
    #[must_use]
    pub fn introspection_of(&self, token: &str) -> Option<&Arc<IntrospectionDocument>> {
        let fitting = self.introspections.values().map(|(document, _)| document);
        fitting.filter(|d| token.starts_with(&d.token_prefix)).max_by_key(|d| d.token_prefix.len())
    }

    /// A provider of introspection by its name.
    #[must_use]
    pub fn introspection(&self, name: &str) -> Option<&Arc<IntrospectionDocument>> {
        self.introspections.get(name).map(|(document, _)| document)
    }

    /// All providers of introspection.
    pub fn introspections(&self) -> impl Iterator<Item = &Arc<IntrospectionDocument>> {
        self.introspections.values().map(|(document, _)| document)
    }

    /// What a workload may do.
    #[inline]
    #[must_use]
    pub fn workload(&self, id: &SpiffeId) -> Option<&Arc<WorkloadEntry>> {
        self.workloads.get(id).map(|(entry, _)| entry)
    }

    /// The shared secret of an issuer of HMAC tokens (gateway view).
    #[must_use]
    pub fn issuer_secret(&self, issuer: &str) -> Option<&Arc<Secret>> {
        self.issuer_secrets.get(issuer).map(|(secret, _)| secret)
    }

    /// The source rules.
    #[inline]
    #[must_use]
    pub fn source_rules(&self) -> &Arc<SourceRulesDocument> {
        &self.source_rules
    }

    /// A cluster.
    #[inline]
    #[must_use]
    pub fn cluster(&self, id: &ClusterId) -> Option<&ClusterEntry> {
        self.clusters.get(id)
    }

    /// Number of clusters held.
    #[must_use]
    pub fn cluster_count(&self) -> usize {
        self.clusters.len()
    }

    /// An API key by its digest.
    #[must_use]
    pub fn api_key(&self, digest: &[u8; 32]) -> Option<ApiKeyEntry> {
        let held = self.api_keys.get(digest)?;
        wire::ApiKey::decode(&*held.encoded).ok().and_then(|raw| api_key_entry(&raw).ok())
    }

    /// Number of API keys held.
    #[must_use]
    pub fn api_key_count(&self) -> usize {
        self.api_keys.len()
    }

    /// Whether something is revoked; `name` is `jti:…`, `sub:…`, `sid:…`, `kid:…` or `client:…`.
    #[inline]
    #[must_use]
    pub fn is_revoked(&self, name: &str) -> bool {
        self.revocations.contains_key(name)
            || (!self.revocation_digests.is_empty()
                && self.revocation_digests.contains_key(&revocation_digest(name)))
    }

    /// True when anything at all is revoked: spares building names.
    #[inline]
    #[must_use]
    pub fn has_revocations(&self) -> bool {
        !self.revocations.is_empty() || !self.revocation_digests.is_empty()
    }

    /// The key that verifies identity tokens of this `kid`.
    #[must_use]
    pub fn identity_key(&self, kid: &str) -> Option<&[u8; 32]> {
        self.identity_keys.get(kid).map(|(key, _)| key)
    }

    /// The signer of identity tokens (gateway view).
    #[inline]
    #[must_use]
    pub fn signer(&self) -> Option<&Arc<SignerEntry>> {
        self.signer.as_ref()
    }

    /// The key of API-key digests (gateway view).
    #[inline]
    #[must_use]
    pub fn pepper(&self) -> Option<&[u8; 32]> {
        self.pepper.as_ref()
    }

    /// What clusters say of themselves, and ask of callers.
    #[inline]
    #[must_use]
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources.0
    }

    /// Applies a verified page.
    ///
    /// # Errors
    /// [`PageError::Backwards`] when the revision of the same generation goes back; nothing is changed
    /// then.
    pub fn apply(&mut self, page: VerifiedPage) -> Result<Applied, PageError> {
        let page = page.into_page();
        let same = page.generation == self.generation;
        if same && page.revision < self.revision {
            return Err(PageError::Backwards { from: self.revision, to: page.revision });
        }
        if !same && !page.reset {
            return Err(PageError::Malformed);
        }
        self.contents = NEXT_CONTENTS.fetch_add(1, Ordering::Relaxed);
        let mut applied = Applied::default();
        let resyncing = !self.cursor.is_empty();
        if page.reset {
            self.epoch = self.epoch.wrapping_add(1);
        }
        for record in &page.records {
            let changed = self.changed_by(record);
            if let Err(what) = self.apply_record(record, &mut applied) {
                applied.unreadable.push(what);
            }
            changed.into_iter().for_each(|ground| self.changes.note(ground));
        }
        if (page.reset || resyncing) && page.cursor.is_empty() {
            self.sweep();
            self.changes.note_everything();
            applied.authentication_changed = true;
        }
        self.generation = page.generation;
        self.revision = page.revision;
        self.cursor = page.cursor;
        self.complete |= self.cursor.is_empty() && !page.more;
        if applied.authentication_changed {
            self.authentication_revision = self.contents;
        }
        Ok(applied)
    }

    /// Drops what the finished resync did not touch.
    fn sweep(&mut self) {
        let epoch = self.epoch;
        self.issuers.retain(|_, held| held.epoch == epoch);
        self.introspections.retain(|_, (_, e)| *e == epoch);
        self.workloads.retain(|_, (_, e)| *e == epoch);
        self.issuer_secrets.retain(|_, (_, e)| *e == epoch);
        self.clusters.retain(|_, c| c.epoch == epoch);
        self.api_keys.retain(|_, k| k.epoch == epoch);
        self.revocations.retain(|_, e| *e == epoch);
        self.revocation_digests.retain(|_, e| *e == epoch);
        self.identity_keys.retain(|_, (_, e)| *e == epoch);
        if self.resources.1 != epoch {
            self.resources = (Arc::default(), epoch);
        }
        self.tenants.retain(|_, t| Arc::strong_count(t) > 1);
    }
}
