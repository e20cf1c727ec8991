//! All entries of the snapshot, ordered by key and by revision.
//!
//! Each change has a revision of its own, and an entry remembers only its latest; so the changes after
//! any revision are a range, already compacted. Removed entries stay as tombstones until the floor
//! passes them; a reader below the floor gets everything anew.

mod entry;
mod news;
mod views;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use portcullis_identity::ids::ClusterId;
use portcullis_protocol::snapshot::PUBLIC_KINDS;
use portcullis_protocol::wire::{Page, Record, RecordKind, SNAPSHOT_FORMAT};
use prost::Message;

use crate::View;
pub use entry::{Change, Published};
use entry::{Entry, EntryKey, plain, visible};
pub use news::ClusterNews;

/// Bytes of records with which a page is full. One page is one slice of work on a worker.
const PAGE_BYTES: usize = 24 * 1024;

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

    /// True of a reader that has more of the same snapshot: it read another replica before, which was faster.
    #[must_use]
    pub fn is_behind(&self, ask: &Ask) -> bool {
        ask.generation == self.generation && ask.revision > self.revision
    }

    /// The revision at which a cluster changed last, if it was ever there.
    #[must_use]
    pub fn cluster_revision(&self, cluster: &ClusterId) -> Option<u64> {
        self.entries.get(&EntryKey::of_cluster(cluster)).map(|entry| entry.revision)
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

    fn of_kind(&self, kind: i32) -> impl Iterator<Item = (&EntryKey, &Entry)> {
        let first = EntryKey { kind, key: Default::default() };
        self.entries.range(first..).take_while(move |(key, _)| key.kind == kind)
    }
}

/// Bytes of a record and of what frames it: a tag, and a length of at most three bytes up to 2 MiB.
fn size_on_page(record: &Record) -> usize {
    record.encoded_len().saturating_add(4)
}

#[cfg(test)]
mod tests;
