//! What a reader holds of the snapshot, kept current by pages.

use std::collections::HashMap;
use std::rc::Rc;

use prost::Message;

use super::entries::api_key_entry;
pub use super::entries::{ApiKeyEntry, ClusterEntry, Secret, SignerEntry};
use super::policy::{
    IntrospectionDocument, IssuerDocument, SourceRulesDocument, WorkloadEntry, WorkloadsDocument,
};
use super::{PageError, VerifiedPage};
use crate::decision::ClusterState;
use crate::ids::{ClusterId, KeyId, SpiffeId, TenantId};
use crate::wire::{self, Record, RecordKind};

/// An API key as it is held: encoded, because a hundred thousand of them must fit into a worker, and
/// each is decoded only when its holder comes for the first time.
#[derive(Debug)]
struct HeldApiKey {
    encoded: Box<[u8]>,
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
#[derive(Debug, Default)]
pub struct SnapshotState {
    generation: Vec<u8>,
    revision: u64,
    cursor: Vec<u8>,
    complete: bool,
    epoch: u8,
    authentication_revision: u64,
    tenants: HashMap<Box<str>, Rc<TenantId>>,
    issuers: HashMap<Box<str>, (Rc<IssuerDocument>, u8)>,
    source_rules: Rc<SourceRulesDocument>,
    introspections: HashMap<Box<str>, (Rc<IntrospectionDocument>, u8)>,
    workloads: HashMap<SpiffeId, (Rc<WorkloadEntry>, u8)>,
    issuer_secrets: HashMap<Box<str>, (Rc<Secret>, u8)>,
    clusters: HashMap<ClusterId, ClusterEntry>,
    api_keys: HashMap<[u8; 32], HeldApiKey>,
    revocations: HashMap<Box<str>, u8>,
    identity_keys: HashMap<Box<str>, ([u8; 32], u8)>,
    signer: Option<Rc<SignerEntry>>,
    pepper: Option<[u8; 32]>,
}

impl SnapshotState {
    /// Name of the store's life, empty before the first page.
    #[must_use]
    pub fn generation(&self) -> &[u8] {
        &self.generation
    }

    /// Revision reached.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Where a full resync goes on; empty when none is under way.
    #[must_use]
    pub fn cursor(&self) -> &[u8] {
        &self.cursor
    }

    /// True once a first full resync and the delta after it were applied: decisions may be taken.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Changes whenever something changed by which credentials are judged.
    #[must_use]
    pub fn authentication_revision(&self) -> u64 {
        self.authentication_revision
    }

    /// An issuer by its exact name.
    #[must_use]
    pub fn issuer(&self, issuer: &str) -> Option<&Rc<IssuerDocument>> {
        self.issuers.get(issuer).map(|(document, _)| document)
    }

    /// All issuers.
    pub fn issuers(&self) -> impl Iterator<Item = &Rc<IssuerDocument>> {
        self.issuers.values().map(|(document, _)| document)
    }

    /// The provider that is asked about opaque tokens that begin like this one: the one with the longest
    /// fitting prefix.
    #[must_use]
    pub fn introspection_of(&self, token: &str) -> Option<&Rc<IntrospectionDocument>> {
        let fitting = self.introspections.values().map(|(document, _)| document);
        fitting.filter(|d| token.starts_with(&d.token_prefix)).max_by_key(|d| d.token_prefix.len())
    }

    /// All providers of introspection.
    pub fn introspections(&self) -> impl Iterator<Item = &Rc<IntrospectionDocument>> {
        self.introspections.values().map(|(document, _)| document)
    }

    /// What a workload may do.
    #[must_use]
    pub fn workload(&self, id: &SpiffeId) -> Option<&Rc<WorkloadEntry>> {
        self.workloads.get(id).map(|(entry, _)| entry)
    }

    /// The shared secret of an issuer of HMAC tokens (gateway view).
    #[must_use]
    pub fn issuer_secret(&self, issuer: &str) -> Option<&Rc<Secret>> {
        self.issuer_secrets.get(issuer).map(|(secret, _)| secret)
    }

    /// The source rules.
    #[must_use]
    pub fn source_rules(&self) -> &Rc<SourceRulesDocument> {
        &self.source_rules
    }

    /// A cluster.
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
    #[must_use]
    pub fn is_revoked(&self, name: &str) -> bool {
        self.revocations.contains_key(name)
    }

    /// True when anything at all is revoked: spares building names.
    #[must_use]
    pub fn has_revocations(&self) -> bool {
        !self.revocations.is_empty()
    }

    /// The key that verifies identity tokens of this `kid`.
    #[must_use]
    pub fn identity_key(&self, kid: &str) -> Option<&[u8; 32]> {
        self.identity_keys.get(kid).map(|(key, _)| key)
    }

    /// The signer of identity tokens (gateway view).
    #[must_use]
    pub fn signer(&self) -> Option<&Rc<SignerEntry>> {
        self.signer.as_ref()
    }

    /// The key of API-key digests (gateway view).
    #[must_use]
    pub fn pepper(&self) -> Option<&[u8; 32]> {
        self.pepper.as_ref()
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
        let mut applied = Applied::default();
        let resyncing = !self.cursor.is_empty();
        if page.reset {
            self.epoch = self.epoch.wrapping_add(1);
        }
        for record in &page.records {
            if let Err(what) = self.apply_record(record, &mut applied) {
                applied.unreadable.push(what);
            }
        }
        if (page.reset || resyncing) && page.cursor.is_empty() {
            self.sweep();
            applied.authentication_changed = true;
        }
        self.generation = page.generation;
        self.revision = page.revision;
        self.cursor = page.cursor;
        self.complete |= self.cursor.is_empty() && !page.more;
        if applied.authentication_changed {
            self.authentication_revision = self.authentication_revision.wrapping_add(1);
        }
        Ok(applied)
    }

    /// Drops what the finished resync did not touch.
    fn sweep(&mut self) {
        let epoch = self.epoch;
        self.issuers.retain(|_, (_, e)| *e == epoch);
        self.introspections.retain(|_, (_, e)| *e == epoch);
        self.workloads.retain(|_, (_, e)| *e == epoch);
        self.issuer_secrets.retain(|_, (_, e)| *e == epoch);
        self.clusters.retain(|_, c| c.epoch == epoch);
        self.api_keys.retain(|_, k| k.epoch == epoch);
        self.revocations.retain(|_, e| *e == epoch);
        self.identity_keys.retain(|_, (_, e)| *e == epoch);
        self.tenants.retain(|_, t| Rc::strong_count(t) > 1);
    }

    fn tenant(&mut self, name: &str) -> Result<Rc<TenantId>, String> {
        if let Some(known) = self.tenants.get(name) {
            return Ok(Rc::clone(known));
        }
        let tenant = Rc::new(TenantId::new(name).map_err(|e| e.to_string())?);
        self.tenants.insert(name.into(), Rc::clone(&tenant));
        Ok(tenant)
    }

    /// An entry that cannot be read is removed, so that an older, wider one does not live on.
    fn apply_record(&mut self, record: &Record, applied: &mut Applied) -> Result<(), String> {
        let kind = RecordKind::try_from(record.kind).unwrap_or(RecordKind::Unspecified);
        match kind {
            RecordKind::Cluster => return self.apply_cluster(record),
            RecordKind::ApiKey => {
                let before = self.api_keys.len();
                let result = self.apply_api_key(record);
                // A new key cannot change how a cached credential is judged; a changed one can.
                applied.authentication_changed |= record.removed || self.api_keys.len() == before;
                return result;
            }
            RecordKind::Unspecified => return Ok(()),
            _ => {}
        }
        applied.authentication_changed = true;
        match kind {
            RecordKind::Issuer => self.apply_issuer(record),
            RecordKind::SourceRules => self.apply_source_rules(record),
            RecordKind::Revocation => self.apply_revocation(record),
            RecordKind::IdentityKey => self.apply_identity_key(record),
            RecordKind::IdentitySigner => self.apply_signer(record),
            RecordKind::Introspection => self.apply_introspection(record),
            RecordKind::Workloads => self.apply_workloads(record),
            RecordKind::IssuerSecret => self.apply_issuer_secret(record),
            RecordKind::ApiKeyPepper => self.apply_pepper(record),
            RecordKind::Unspecified | RecordKind::Cluster | RecordKind::ApiKey => Ok(()),
        }
    }

    fn apply_cluster(&mut self, record: &Record) -> Result<(), String> {
        let id = text(&record.key).and_then(|t| ClusterId::new(t).map_err(|e| e.to_string()))?;
        self.clusters.remove(&id);
        if record.removed {
            return Ok(());
        }
        let raw = wire::Cluster::decode(record.value.as_slice())
            .map_err(|_| format!("cluster {id}: not a cluster message"))?;
        let tenant = self.tenant(&raw.tenant).map_err(|e| format!("cluster {id}: {e}"))?;
        let entry = ClusterEntry { tenant, state: ClusterState::from_code(raw.state), epoch: self.epoch };
        self.clusters.insert(id, entry);
        Ok(())
    }

    fn apply_api_key(&mut self, record: &Record) -> Result<(), String> {
        let digest: [u8; 32] =
            record.key.as_slice().try_into().map_err(|_| "API key: digest is not 32 bytes".to_owned())?;
        if record.removed {
            self.api_keys.remove(&digest);
            return Ok(());
        }
        let entry = wire::ApiKey::decode(record.value.as_slice())
            .map_err(|_| "not an API key message".to_owned())
            .and_then(|raw| api_key_entry(&raw));
        match entry {
            Ok(_) => {
                let held = HeldApiKey { encoded: record.value.as_slice().into(), epoch: self.epoch };
                self.api_keys.insert(digest, held);
                Ok(())
            }
            Err(error) => {
                self.api_keys.remove(&digest);
                Err(format!("API key: {error}"))
            }
        }
    }

    fn apply_issuer(&mut self, record: &Record) -> Result<(), String> {
        let name: Box<str> = text(&record.key)?.into();
        self.issuers.remove(&name);
        if record.removed {
            return Ok(());
        }
        let document: IssuerDocument =
            serde_json::from_slice(&record.value).map_err(|e| format!("issuer {name}: {e}"))?;
        if document.issuer.as_str() != &*name {
            return Err(format!("issuer {name}: its document names {}", document.issuer));
        }
        self.issuers.insert(name, (Rc::new(document), self.epoch));
        Ok(())
    }

    fn apply_source_rules(&mut self, record: &Record) -> Result<(), String> {
        self.source_rules = Rc::default();
        if !record.removed {
            let rules = serde_json::from_slice(&record.value).map_err(|e| format!("source rules: {e}"))?;
            self.source_rules = Rc::new(rules);
        }
        Ok(())
    }

    fn apply_revocation(&mut self, record: &Record) -> Result<(), String> {
        let name = text(&record.key)?;
        if record.removed {
            self.revocations.remove(name);
        } else {
            self.revocations.insert(name.into(), self.epoch);
        }
        Ok(())
    }

    fn apply_identity_key(&mut self, record: &Record) -> Result<(), String> {
        let kid: Box<str> = text(&record.key)?.into();
        self.identity_keys.remove(&kid);
        if record.removed {
            return Ok(());
        }
        let key =
            record.value.as_slice().try_into().map_err(|_| format!("identity key {kid}: not 32 bytes"))?;
        self.identity_keys.insert(kid, (key, self.epoch));
        Ok(())
    }

    fn apply_signer(&mut self, record: &Record) -> Result<(), String> {
        self.signer = None;
        if record.removed {
            return Ok(());
        }
        let raw = wire::IdentitySigner::decode(record.value.as_slice())
            .map_err(|_| "identity signer: not a signer message".to_owned())?;
        let seed = raw.seed.as_slice().try_into().map_err(|_| "identity signer: seed is not 32 bytes")?;
        if !(1..=60).contains(&raw.lifetime_s) {
            return Err(format!("identity signer: lifetime {} s is not within 1–60 s", raw.lifetime_s));
        }
        let key_id = KeyId::new(&raw.key_id).map_err(|e| format!("identity signer: {e}"))?;
        self.signer =
            Some(Rc::new(SignerEntry { key_id, seed, issuer: raw.issuer, lifetime_s: raw.lifetime_s }));
        Ok(())
    }

    fn apply_introspection(&mut self, record: &Record) -> Result<(), String> {
        let name: Box<str> = text(&record.key)?.into();
        self.introspections.remove(&name);
        if record.removed {
            return Ok(());
        }
        let document: IntrospectionDocument =
            serde_json::from_slice(&record.value).map_err(|e| format!("introspection {name}: {e}"))?;
        if document.name != *name {
            return Err(format!("introspection {name}: its document names {}", document.name));
        }
        self.introspections.insert(name, (Rc::new(document), self.epoch));
        Ok(())
    }

    fn apply_workloads(&mut self, record: &Record) -> Result<(), String> {
        self.workloads.clear();
        if record.removed {
            return Ok(());
        }
        let document: WorkloadsDocument =
            serde_json::from_slice(&record.value).map_err(|e| format!("workloads: {e}"))?;
        for entry in document.workloads {
            self.workloads.insert(entry.spiffe_id.clone(), (Rc::new(entry), self.epoch));
        }
        Ok(())
    }

    fn apply_issuer_secret(&mut self, record: &Record) -> Result<(), String> {
        let name: Box<str> = text(&record.key)?.into();
        if record.removed {
            self.issuer_secrets.remove(&name);
        } else {
            let secret = Rc::new(Secret(record.value.as_slice().into()));
            self.issuer_secrets.insert(name, (secret, self.epoch));
        }
        Ok(())
    }

    fn apply_pepper(&mut self, record: &Record) -> Result<(), String> {
        self.pepper = None;
        if !record.removed {
            let key = record.value.as_slice().try_into().map_err(|_| "API-key pepper: not 32 bytes")?;
            self.pepper = Some(key);
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "an entry's key is not UTF-8".to_owned())
}
