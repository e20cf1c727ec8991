//! One entry, and a change of it.

use std::fmt;
use std::sync::Arc;

use portcullis_identity::ids::ClusterId;
use portcullis_protocol::snapshot::view_holds;
use portcullis_protocol::wire::{Record, RecordKind};

use crate::View;

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
pub(super) struct EntryKey {
    pub(super) kind: i32,
    pub(super) key: Arc<[u8]>,
}

impl EntryKey {
    /// That of a cluster.
    pub(super) fn of_cluster(cluster: &ClusterId) -> Self {
        Self { kind: RecordKind::Cluster as i32, key: cluster.as_str().as_bytes().into() }
    }

    pub(super) fn cursor(&self) -> Vec<u8> {
        let mut out = self.kind.to_be_bytes().to_vec();
        out.extend_from_slice(&self.key);
        out
    }

    pub(super) fn from_cursor(cursor: &[u8]) -> Option<Self> {
        let (kind, key) = cursor.split_first_chunk::<4>()?;
        Some(Self { kind: i32::from_be_bytes(*kind), key: key.into() })
    }
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) value: Option<Arc<[u8]>>,
}

/// An entry as it stands on a page that holds everything.
pub(super) fn plain(key: &EntryKey, entry: &Entry) -> Record {
    Record {
        kind: key.kind,
        key: key.key.to_vec(),
        value: entry.value.as_deref().unwrap_or_default().to_vec(),
        removed: entry.value.is_none(),
    }
}

/// Whether a view holds an entry.
pub(super) fn visible(view: &View, key: &EntryKey) -> bool {
    let own = match view {
        View::Gateway => None,
        View::Public(own) => Some(own.as_str()),
    };
    view_holds(own, key.kind, &key.key)
}
