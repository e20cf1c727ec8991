//! All entries of the snapshot, ordered by key and by revision.
//!
//! Each change has a revision of its own, and an entry remembers only its latest; so the changes after
//! any revision are a range, already compacted. Removed entries stay as tombstones until the floor
//! passes them; a reader below the floor gets everything anew.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use portcullis_identity::CredentialKind;
use portcullis_identity::ids::ClusterId;
use portcullis_model::policy::{SourceRulesDocument, WorkloadsDocument};
use portcullis_protocol::snapshot::{PUBLIC_KINDS, view_holds};
use portcullis_protocol::wire::{self, Page, Record, RecordKind, SNAPSHOT_FORMAT};
use prost::Message;

use super::View;

/// Bytes of records with which a page is full. One page is one slice of work on a worker.
const PAGE_BYTES: usize = 24 * 1024;

/// A change of one entry, as it was committed.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Kind of the entry.
    pub kind: RecordKind,
    /// Its key.
    pub key: Arc<[u8]>,
    /// Revision of this change.
    pub revision: u64,
    /// The new value; `None` when the entry was removed.
    pub value: Option<Arc<[u8]>>,
}

impl fmt::Debug for Change {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("kind", &self.kind)
            .field("revision", &self.revision)
            .field("removed", &self.value.is_none())
            .finish_non_exhaustive()
    }
}

/// What one commit did to the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Changes in the order of their revisions.
    pub changes: Vec<Change>,
    /// Tombstones up to this revision are forgotten.
    pub floor: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct EntryKey {
    kind: i32,
    key: Arc<[u8]>,
}

impl EntryKey {
    fn cursor(&self) -> Vec<u8> {
        let mut out = self.kind.to_be_bytes().to_vec();
        out.extend_from_slice(&self.key);
        out
    }

    fn from_cursor(cursor: &[u8]) -> Option<Self> {
        let (kind, key) = cursor.split_first_chunk::<4>()?;
        Some(Self { kind: i32::from_be_bytes(*kind), key: key.into() })
    }
}

#[derive(Clone)]
struct Entry {
    revision: u64,
    value: Option<Arc<[u8]>>,
}

/// What a reader says it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The view.
    pub view: View,
    /// Generation of the last page, empty for a new reader.
    pub generation: Vec<u8>,
    /// Revision of the last page.
    pub revision: u64,
    /// Cursor of the last page, empty unless a resync is under way.
    pub cursor: Vec<u8>,
}

/// The snapshot.
pub struct SnapshotIndex {
    generation: [u8; 16],
    revision: u64,
    floor: u64,
    entries: BTreeMap<EntryKey, Entry>,
    by_revision: BTreeMap<u64, EntryKey>,
    /// The same for what every sidecar sees: its readers must not walk through everybody else's changes.
    public_by_revision: BTreeMap<u64, EntryKey>,
}

impl fmt::Debug for SnapshotIndex {
    /// Without the entries, of which some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotIndex")
            .field("revision", &self.revision)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl SnapshotIndex {
    /// An empty snapshot at a revision; fill it with [`SnapshotIndex::publish`].
    #[must_use]
    pub fn new(generation: [u8; 16], revision: u64, floor: u64) -> Self {
        let (entries, by_revision, public_by_revision) = Default::default();
        Self { generation, revision, floor, entries, by_revision, public_by_revision }
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Number of entries, tombstones not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.values().filter(|e| e.value.is_some()).count()
    }

    /// True when there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over what a commit changed.
    pub fn publish(&mut self, published: Published) {
        for change in published.changes {
            let key = EntryKey { kind: change.kind as i32, key: change.key };
            let entry = Entry { revision: change.revision, value: change.value };
            if let Some(old) = self.entries.insert(key.clone(), entry) {
                self.by_revision.remove(&old.revision);
                self.public_by_revision.remove(&old.revision);
            }
            if PUBLIC_KINDS.contains(&change.kind) {
                self.public_by_revision.insert(change.revision, key.clone());
            }
            self.by_revision.insert(change.revision, key);
            self.revision = self.revision.max(change.revision);
        }
        if published.floor > self.floor {
            self.floor = published.floor;
            let entries = &mut self.entries;
            let forgotten = |key: &EntryKey| entries.get(key).is_some_and(|e| e.value.is_none());
            let gone: Vec<_> = self
                .by_revision
                .range(..=self.floor)
                .filter(|(_, key)| forgotten(key))
                .map(|(revision, key)| (*revision, key.clone()))
                .collect();
            for (revision, key) in gone {
                self.by_revision.remove(&revision);
                self.public_by_revision.remove(&revision);
                self.entries.remove(&key);
            }
        }
    }

    /// The page that a reader gets now, and whether it says anything new. Both come from one look, so that
    /// a page never carries a revision whose changes it leaves out.
    #[must_use]
    pub fn answer(&self, ask: &Ask) -> (Page, bool) {
        let known =
            ask.generation == self.generation && ask.revision <= self.revision && ask.revision >= self.floor;
        let after = EntryKey::from_cursor(&ask.cursor);
        match (known, ask.cursor.is_empty(), after) {
            (true, true, _) => match self.delta(&ask.view, ask.revision) {
                Some(page) => (page, true),
                None => (self.page(&ask.view, self.revision), false),
            },
            (true, false, Some(after)) => (self.full(&ask.view, Some(&after), ask.revision), true),
            _ => (self.full(&ask.view, None, self.revision), true),
        }
    }

    /// All entries of some kinds, as one page of a gateway's view, however large.
    #[must_use]
    pub fn excerpt(&self, kinds: &[RecordKind]) -> Page {
        let entries = kinds.iter().flat_map(|kind| self.of_kind(*kind as i32));
        let present = entries.filter(|(_, entry)| entry.value.is_some());
        let records = present.map(|(key, entry)| plain(key, entry)).collect();
        Page { reset: true, records, ..self.page(&View::Gateway, self.revision) }
    }

    fn page(&self, view: &View, revision: u64) -> Page {
        Page {
            format: SNAPSHOT_FORMAT,
            view: view.to_string(),
            generation: self.generation.to_vec(),
            revision,
            ..Page::default()
        }
    }

    /// A page of a full resync, beginning after a key; `pinned` is the revision at which it began.
    fn full(&self, view: &View, after: Option<&EntryKey>, pinned: u64) -> Page {
        let mut page = self.page(view, pinned);
        page.reset = after.is_none();
        let mut room = PAGE_BYTES;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (key, entry) in self.entries.range::<EntryKey, _>((from, Bound::Unbounded)) {
            if entry.value.is_none() || !visible(view, key) {
                continue;
            }
            let record = self.record(view, key, entry);
            let size = size_on_page(&record);
            if let Some(last) = last.filter(|_| size > room) {
                page.cursor = EntryKey::cursor(last);
                break;
            }
            room = room.saturating_sub(size);
            page.records.push(record);
            last = Some(key);
        }
        page.more = !page.cursor.is_empty() || self.delta(view, pinned).is_some();
        page
    }

    /// The changes after a revision, as many as fit on a page; `None` when the view has none.
    fn delta(&self, view: &View, after: u64) -> Option<Page> {
        let mut page = self.page(view, self.revision);
        let mut room = PAGE_BYTES;
        let mut last = after;
        for (revision, key) in self.changes(view, after) {
            let Some(entry) = self.entries.get(key) else { continue };
            let record = self.record(view, key, entry);
            let size = size_on_page(&record);
            // What changed together is not torn apart: the reader would never get the rest.
            if size > room && !page.records.is_empty() && revision != last {
                page.revision = last;
                page.more = true;
                break;
            }
            room = room.saturating_sub(size);
            page.records.push(record);
            last = revision;
        }
        (!page.records.is_empty()).then_some(page)
    }

    /// The changes that a view sees, in the order of their revisions.
    fn changes(&self, view: &View, after: u64) -> Box<dyn Iterator<Item = (u64, &EntryKey)> + '_> {
        let newer = (Bound::Excluded(after), Bound::Unbounded);
        match view {
            View::Gateway => {
                let seen = |(_, key): &(&u64, &EntryKey)| visible(&View::Gateway, key);
                Box::new(self.by_revision.range(newer).filter(seen).map(|(r, k)| (*r, k)))
            }
            View::Public(cluster) => {
                let own =
                    EntryKey { kind: RecordKind::Cluster as i32, key: cluster.as_str().as_bytes().into() };
                let own = self.entries.get_key_value(&own).map(|(key, entry)| (entry.revision, key));
                let mut found: Vec<_> = self
                    .public_by_revision
                    .range(newer)
                    .map(|(revision, key)| (*revision, key))
                    .chain(own.filter(|(revision, _)| *revision > after))
                    .collect();
                found.extend(self.workloads_with_cluster(cluster, after));
                found.sort_unstable();
                Box::new(found.into_iter())
            }
        }
    }

    /// A sidecar that was there before its cluster was registered has got no workloads: they come along
    /// with the cluster.
    fn workloads_with_cluster(&self, cluster: &ClusterId, after: u64) -> Option<(u64, &EntryKey)> {
        let own = EntryKey { kind: RecordKind::Cluster as i32, key: cluster.as_str().as_bytes().into() };
        let changed = self.entries.get(&own).map(|entry| entry.revision).filter(|r| *r > after)?;
        let (key, entry) = self.of_kind(RecordKind::Workloads as i32).next()?;
        let has_some = || {
            let document = entry.value.as_deref().unwrap_or_default();
            workloads_of(&self.tenant_of(cluster), document) != workloads_of("", document)
        };
        (entry.revision <= after && has_some()).then_some((changed, key))
    }

    /// An entry as a view holds it. Of the workloads a sidecar gets those of its cluster's tenant: nobody
    /// else may reach the cluster, and other tenants' workloads are none of its business. Of the source rules it
    /// gets those that workloads can fit: the others name other tenants' providers and clients.
    fn record(&self, view: &View, key: &EntryKey, entry: &Entry) -> Record {
        let mut record = plain(key, entry);
        let View::Public(cluster) = view else { return record };
        match RecordKind::try_from(key.kind) {
            Ok(_) if record.removed => {}
            Ok(RecordKind::Workloads) => {
                record.value = workloads_of(&self.tenant_of(cluster), &record.value);
            }
            Ok(RecordKind::SourceRules) => record.value = rules_for_workloads(&record.value),
            _ => {}
        }
        record
    }

    fn tenant_of(&self, cluster: &ClusterId) -> String {
        let own = EntryKey { kind: RecordKind::Cluster as i32, key: cluster.as_str().as_bytes().into() };
        let value = self.entries.get(&own).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
        wire::Cluster::decode(value).map(|c| c.tenant).unwrap_or_default()
    }

    fn of_kind(&self, kind: i32) -> impl Iterator<Item = (&EntryKey, &Entry)> {
        let first = EntryKey { kind, key: Arc::default() };
        self.entries.range(first..).take_while(move |(key, _)| key.kind == kind)
    }
}

/// Whether a view holds an entry.
fn visible(view: &View, key: &EntryKey) -> bool {
    let own = match view {
        View::Gateway => None,
        View::Public(own) => Some(own.as_str()),
    };
    view_holds(own, key.kind, &key.key)
}

/// Bytes of a record and of what frames it: a tag, and a length of at most three bytes up to 2 MiB.
fn size_on_page(record: &Record) -> usize {
    record.encoded_len().saturating_add(4)
}

/// The workloads of one tenant. What cannot be read is left out as a whole.
fn workloads_of(tenant: &str, document: &[u8]) -> Vec<u8> {
    let read = serde_json::from_slice::<WorkloadsDocument>(document);
    let mut document = read.unwrap_or_default();
    document.workloads.retain(|workload| workload.tenant.as_str() == tenant);
    serde_json::to_vec(&document).unwrap_or_default()
}

/// The rules that a workload can fit, in their order: the first that fits is the same as among all of them.
fn rules_for_workloads(document: &[u8]) -> Vec<u8> {
    let mut document = serde_json::from_slice::<SourceRulesDocument>(document).unwrap_or_default();
    document.rules.retain(|rule| {
        let when = &rule.when;
        let of_a_token = when.issuer.is_some()
            || when.client_id.is_some()
            || when.claims.is_some()
            || when.delegated == Some(true);
        let kinds = when.credential.as_ref();
        !of_a_token && kinds.is_none_or(|kinds| kinds.contains(&CredentialKind::Workload))
    });
    serde_json::to_vec(&document).unwrap_or_default()
}

fn plain(key: &EntryKey, entry: &Entry) -> Record {
    Record {
        kind: key.kind,
        key: key.key.to_vec(),
        value: entry.value.as_deref().unwrap_or_default().to_vec(),
        removed: entry.value.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: [u8; 16] = [1; 16];

    fn change(key: &str, revision: u64, present: bool) -> Change {
        let value = present.then(|| Arc::from(&b"v"[..]));
        Change { kind: RecordKind::Revocation, key: key.as_bytes().into(), revision, value }
    }

    fn state(changes: Vec<Change>) -> SnapshotIndex {
        let mut state = SnapshotIndex::new(LIFE, 0, 0);
        state.publish(Published { changes, floor: 0 });
        state
    }

    fn ask(revision: u64) -> Ask {
        Ask { view: View::Gateway, generation: LIFE.to_vec(), revision, cursor: Vec::new() }
    }

    #[test]
    fn a_delta_holds_the_latest_change_of_each_entry_in_order() {
        let state = state(vec![change("a", 1, true), change("b", 2, true), change("a", 3, false)]);
        let (page, news) = state.answer(&ask(1));
        let seen: Vec<_> = page.records.iter().map(|r| (r.key.as_slice(), r.removed)).collect();
        assert_eq!(seen, [(&b"b"[..], false), (b"a", true)]);
        assert_eq!((page.revision, page.reset, news), (3, false, true));
        assert!(!state.answer(&ask(3)).1);
    }

    #[test]
    fn a_sidecar_gets_the_rules_that_workloads_can_fit() {
        let rule = |name: &str, when: serde_json::Value| serde_json::json!({"name": name, "sourceType": "worker", "when": when});
        let document = serde_json::json!({"rules": [
            rule("provider", serde_json::json!({"issuer": ["https://globex.example"]})),
            rule("client", serde_json::json!({"clientId": ["globex-web"]})),
            rule("tokens", serde_json::json!({"credential": ["jwt"]})),
            rule("delegated", serde_json::json!({"delegated": true})),
            rule("jobs", serde_json::json!({"credential": ["jwt", "workload"], "delegated": false})),
            rule("all", serde_json::json!({})),
        ]});
        let cut = rules_for_workloads(document.to_string().as_bytes());
        let left: SourceRulesDocument = serde_json::from_slice(&cut).unwrap();
        assert_eq!(left.rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["jobs", "all"]);
        assert_eq!(rules_for_workloads(b"no JSON"), br#"{"rules":[]}"#);
    }

    #[test]
    fn no_debug_output_holds_a_value() {
        let change = change("a", 1, true);
        let told = format!("{change:?} {:?}", state(vec![change.clone()]));
        // The value is `v`.
        assert!(!told.contains("118") && told.contains("revision: 1"), "{told}");
    }

    #[test]
    fn below_the_floor_everything_comes_anew() {
        let mut state = state(vec![change("a", 1, true), change("b", 2, true), change("a", 3, false)]);
        state.publish(Published { changes: vec![change("c", 4, true)], floor: 3 });
        assert!(!state.answer(&ask(3)).0.reset, "at the floor nothing is missing");
        let (page, _) = state.answer(&ask(2));
        assert!(page.reset, "the removal of `a` is forgotten, so a delta would leave it in place");
        assert_eq!(page.records.iter().map(|r| r.key.as_slice()).collect::<Vec<_>>(), [b"b", b"c"]);
        let under_way = Ask { cursor: EntryKey { kind: 0, key: Arc::default() }.cursor(), ..ask(2) };
        assert!(state.answer(&under_way).0.reset, "a resync that the floor has passed begins again");
    }

    #[test]
    fn a_long_delta_comes_in_pages_without_a_hole() {
        let changes = (1..=3000).map(|n| change(&n.to_string(), n, true)).collect();
        let state = state(changes);
        let (mut revision, mut seen) = (0, 0);
        loop {
            let (page, _) = state.answer(&ask(revision));
            assert!(page.encoded_len() < PAGE_BYTES + 256);
            seen += page.records.len();
            revision = page.revision;
            if !page.more {
                break;
            }
        }
        assert_eq!((revision, seen), (3000, 3000));
    }

    #[test]
    fn one_entry_larger_than_a_page_still_arrives() {
        let large = Change { value: Some(vec![0; 2 * PAGE_BYTES].into()), ..change("a", 1, true) };
        let state = state(vec![large, change("b", 2, true)]);
        let (page, _) = state.answer(&Ask { generation: Vec::new(), ..ask(0) });
        assert!(page.more && page.records.len() == 1);
        let rest = Ask { cursor: page.cursor, ..ask(page.revision) };
        assert_eq!(state.answer(&rest).0.records.len(), 1);
    }
}
