//! What is new of clusters, for whoever watches them.

use std::ops::Bound;

use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::decision::ClusterState;
use portcullis_protocol::wire::{self, RecordKind};
use prost::Message;

use super::SnapshotIndex;
use super::entry::{Entry, EntryKey};

/// Changes of any kind that are looked at in one go: others wait for the snapshot meanwhile.
const LOOKED_AT: usize = 2000;

/// A cluster, and the state that it has since a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNews {
    /// The cluster.
    pub id: ClusterId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its state.
    pub state: ClusterState,
    /// Since which revision.
    pub revision: u64,
}

impl SnapshotIndex {
    /// Which clusters have another state since a revision, so many at most, and up to which revision that is all. No cluster
    /// is ever removed, so what is told is complete since any revision of this life.
    #[must_use]
    pub fn cluster_news(&self, after: u64, most: usize) -> (Vec<ClusterNews>, u64) {
        let (mut news, mut upto) = (Vec::new(), after);
        let newer = self.by_revision.range((Bound::Excluded(after), Bound::Unbounded));
        for (looked_at, (revision, key)) in newer.enumerate() {
            if looked_at >= LOOKED_AT || news.len() >= most {
                return (news, upto);
            }
            upto = *revision;
            if key.kind == RecordKind::Cluster as i32 {
                news.extend(self.entries.get(key).and_then(|entry| told(key, entry)));
            }
        }
        (news, self.revision.max(after))
    }
}

fn told(key: &EntryKey, entry: &Entry) -> Option<ClusterNews> {
    let value = wire::Cluster::decode(entry.value.as_deref()?).ok()?;
    Some(ClusterNews {
        id: ClusterId::new(std::str::from_utf8(&key.key).ok()?).ok()?,
        tenant: TenantId::new(&value.tenant).ok()?,
        state: ClusterState::from_code(value.state),
        revision: entry.revision,
    })
}
