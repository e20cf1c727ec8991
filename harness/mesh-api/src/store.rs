//! The snapshot: its entries, its changes, and the page for a reader.

use std::collections::BTreeMap;
use std::ops::Bound;

use portcullis_protocol::snapshot::view_holds;
use portcullis_protocol::wire::{Page, Record, SNAPSHOT_FORMAT};
use prost::Message;

/// Bytes of records on one page, as the control service has it.
pub const PAGE_BYTES: usize = 24 * 1024;

type Key = (i32, Vec<u8>);

/// What a reader says that it has, and what it wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Poll {
    /// `gateway`, or `public:<cluster>`.
    pub view: String,
    /// Generation of its last page; empty for a new reader.
    pub generation: Vec<u8>,
    /// Revision of its last page.
    pub revision: u64,
    /// How far a resync has come; empty without one.
    pub cursor: Vec<u8>,
    /// Repeated in the page.
    pub nonce: Vec<u8>,
}

impl Poll {
    /// Whether the view holds an entry.
    fn sees(&self, (kind, key): &Key) -> bool {
        view_holds(self.view.strip_prefix("public:"), *kind, key)
    }
}

/// Entries by kind and key, and the changes since the generation began.
#[derive(Debug, Default)]
pub struct Store {
    generation: u64,
    revision: u64,
    entries: BTreeMap<Key, Record>,
    changes: Vec<(u64, Key)>,
}

impl Store {
    /// The generation, as pages name it.
    #[must_use]
    pub fn generation(&self) -> [u8; 16] {
        u128::from(self.generation).to_be_bytes()
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Begins a new generation with these records: every reader resyncs in full. Answers its revision.
    pub fn replace(&mut self, records: Vec<Record>) -> u64 {
        self.generation += 1;
        self.revision += 1;
        self.changes.clear();
        self.entries = records.into_iter().map(|record| (key(&record), record)).collect();
        self.revision
    }

    /// Publishes changes as one revision, and answers which.
    pub fn change(&mut self, records: Vec<Record>) -> u64 {
        self.revision += 1;
        for record in records {
            let key = key(&record);
            self.changes.push((self.revision, key.clone()));
            if record.removed {
                self.entries.remove(&key);
            } else {
                self.entries.insert(key, record);
            }
        }
        self.revision
    }

    /// The page for a reader; `None` when there is nothing new for it.
    #[must_use]
    pub fn page(&self, poll: &Poll) -> Option<Page> {
        if poll.generation != self.generation() {
            return Some(self.full(poll, None, self.revision));
        }
        match poll.cursor.split_first_chunk::<4>() {
            Some((kind, key)) => {
                let after = (i32::from_be_bytes(*kind), key.to_vec());
                Some(self.full(poll, Some(after), poll.revision))
            }
            None => self.delta(poll, poll.revision),
        }
    }

    /// The page without news, for a poll that has waited long enough.
    #[must_use]
    pub fn no_news(&self, poll: &Poll) -> Page {
        self.empty(poll, poll.revision)
    }

    fn empty(&self, poll: &Poll, revision: u64) -> Page {
        Page {
            format: SNAPSHOT_FORMAT,
            nonce: poll.nonce.clone(),
            view: poll.view.clone(),
            generation: self.generation().to_vec(),
            revision,
            ..Page::default()
        }
    }

    fn full(&self, poll: &Poll, after: Option<Key>, pinned: u64) -> Page {
        let mut page = self.empty(poll, pinned);
        page.reset = after.is_none();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut room = PAGE_BYTES;
        let entries = self.entries.range((from, Bound::Unbounded)).filter(|(key, _)| poll.sees(key));
        for (_, record) in entries {
            let size = record.encoded_len();
            // A record that fills a page by itself stands on one alone.
            if size > room && !page.records.is_empty() {
                page.cursor = page.records.last().map(cursor).unwrap_or_default();
                break;
            }
            room = room.saturating_sub(size);
            page.records.push(record.clone());
        }
        page.more = !page.cursor.is_empty() || self.delta(poll, pinned).is_some();
        page
    }

    fn delta(&self, poll: &Poll, after: u64) -> Option<Page> {
        let begin = self.changes.partition_point(|(revision, _)| *revision <= after);
        let mut page = self.empty(poll, self.revision);
        let changes = self.changes.get(begin..).unwrap_or_default();
        page.records.extend(changes.iter().filter(|(_, key)| poll.sees(key)).map(|(_, key)| self.now(key)));
        (!page.records.is_empty()).then_some(page)
    }

    /// An entry as it is now, or that it is gone.
    fn now(&self, key: &Key) -> Record {
        let gone = || Record { kind: key.0, key: key.1.clone(), value: Vec::new(), removed: true };
        self.entries.get(key).cloned().unwrap_or_else(gone)
    }
}

fn key(record: &Record) -> Key {
    (record.kind, record.key.clone())
}

fn cursor(record: &Record) -> Vec<u8> {
    [&record.kind.to_be_bytes(), record.key.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use portcullis_protocol::wire::RecordKind;

    use super::*;

    fn record(key: u32) -> Record {
        Record {
            kind: RecordKind::Cluster.into(),
            key: key.to_be_bytes().to_vec(),
            value: vec![0; 100],
            removed: false,
        }
    }

    fn poll(store: &Store, revision: u64, cursor: Vec<u8>) -> Poll {
        Poll {
            view: "gateway".into(),
            generation: store.generation().to_vec(),
            revision,
            cursor,
            ..Poll::default()
        }
    }

    #[test]
    fn a_resync_brings_every_entry_once_and_then_the_changes() {
        let mut store = Store::default();
        store.replace((0..1_000).map(record).collect());
        let new = Poll { view: "gateway".into(), ..Poll::default() };
        let mut page = store.page(&new).unwrap();
        let (pinned, mut seen, mut pages) = (page.revision, 0, 0);
        loop {
            pages += 1;
            assert_eq!(page.reset, pages == 1);
            assert!(page.records.iter().map(Message::encoded_len).sum::<usize>() <= PAGE_BYTES);
            seen += page.records.len();
            if page.cursor.is_empty() {
                break;
            }
            page = store.page(&poll(&store, pinned, page.cursor)).unwrap();
        }
        assert_eq!(seen, 1_000);
        assert!(pages > 1);
        assert_eq!(store.page(&poll(&store, pinned, Vec::new())), None);
        store.change(vec![record(7)]);
        assert_eq!(store.page(&poll(&store, pinned, Vec::new())).unwrap().records.len(), 1);
    }

    #[test]
    fn what_is_removed_is_told_once_and_is_in_no_resync() {
        let mut store = Store::default();
        let first = store.replace(vec![record(1), record(2)]);
        store.change(vec![Record { removed: true, value: Vec::new(), ..record(1) }]);
        let told = store.page(&poll(&store, first, Vec::new())).unwrap().records;
        assert!(told.len() == 1 && told[0].removed, "{told:?}");
        let new = Poll { view: "gateway".into(), ..Poll::default() };
        assert_eq!(store.page(&new).unwrap().records, [record(2)]);
    }

    #[test]
    fn a_sidecar_sees_its_own_cluster_and_no_secret() {
        let mut store = Store::default();
        let kinds =
            [RecordKind::Issuer, RecordKind::IdentitySigner, RecordKind::ApiKey, RecordKind::Revocation];
        let mut records: Vec<Record> =
            kinds.into_iter().map(|kind| Record { kind: kind.into(), ..record(1) }).collect();
        records.push(Record { key: b"acme-1".to_vec(), ..record(1) });
        records.push(Record { key: b"other".to_vec(), ..record(1) });
        records.push(Record { kind: RecordKind::RevocationDigest.into(), ..record(1) });
        records.push(Record { kind: RecordKind::IdentityKey.into(), ..record(1) });
        store.replace(records);
        let seen = |view: &str| -> Vec<i32> {
            let page = store.page(&Poll { view: view.into(), ..Poll::default() }).unwrap();
            page.records.iter().map(|record| record.kind).collect()
        };
        let named = |kinds: &[RecordKind]| -> Vec<i32> {
            let mut kinds: Vec<i32> = kinds.iter().map(|kind| i32::from(*kind)).collect();
            kinds.sort_unstable();
            kinds
        };
        let public = [RecordKind::IdentityKey, RecordKind::Cluster, RecordKind::RevocationDigest];
        assert_eq!(seen("public:acme-1"), named(&public));
        let others = [RecordKind::IdentityKey, RecordKind::Cluster, RecordKind::Cluster];
        assert_eq!(seen("gateway"), named(&[&kinds[..], &others].concat()));
    }
}
