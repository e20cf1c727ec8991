//! Long polls: a reader waits here until there is something new for it.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use portcullis_identity::ids::ClusterId;
use portcullis_protocol::snapshot::sign_page;
use portcullis_protocol::wire::{Page, RecordKind};
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{Ask, Behind, ClusterNews, Freshness, Published, SnapshotIndex};

/// How long a reader may be ahead of this replica before it is sent to another one. News takes milliseconds.
const CATCH_UP: Duration = Duration::from_secs(2);

/// One poll of a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// What the reader has.
    pub ask: Ask,
    /// Repeated in the page, so that no old page can be played back.
    pub nonce: Vec<u8>,
    /// How long to wait for something new.
    pub wait: Duration,
}

/// The snapshot, shared by the writer that changes it and the polls that read it.
pub struct Hub {
    state: RwLock<SnapshotIndex>,
    revision: watch::Sender<u64>,
    generation: [u8; 16],
    seed: Zeroizing<[u8; 32]>,
    freshness: Freshness,
}

impl Hub {
    /// A hub over a snapshot, with the seed that signs its pages.
    #[must_use]
    pub fn new(
        state: SnapshotIndex,
        generation: [u8; 16],
        seed: Zeroizing<[u8; 32]>,
        freshness: Freshness,
    ) -> Self {
        let revision = watch::Sender::new(state.revision());
        Self { state: RwLock::new(state), revision, generation, seed, freshness }
    }

    /// Takes over what commits changed, all of it after what the snapshot has, and wakes every waiting poll. Who writes
    /// and who follows what others write may bring the same: what is there already is passed over.
    pub fn publish(&self, mut published: Published) {
        if published.changes.is_empty() && published.floor == 0 {
            return;
        }
        self.change(|state| {
            let known = state.revision();
            published.changes.retain(|change| change.revision > known);
            state.publish(published);
        });
    }

    /// Takes a whole snapshot over, where what led to it is not known any more.
    pub fn replace(&self, newer: SnapshotIndex) {
        self.change(|state| {
            if newer.revision() > state.revision() {
                *state = newer;
            }
        });
    }

    fn change(&self, edit: impl FnOnce(&mut SnapshotIndex)) {
        // A panic while the lock was held left at worst an incomplete page of one reader.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        edit(&mut state);
        // Under the lock: two who publish at once must not tell their revisions in the other order.
        self.revision.send_replace(state.revision());
    }

    /// Whether the snapshot is known to have everything.
    #[must_use]
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Tells of each change of the revision.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Which clusters have another state since a revision, so many at most, and up to which revision that is all.
    #[must_use]
    pub fn cluster_news(&self, after: u64, most: usize) -> (Vec<ClusterNews>, u64) {
        self.read(|state| state.cluster_news(after, most))
    }

    /// The revision at which a cluster changed last, if it was ever there.
    #[must_use]
    pub fn cluster_revision(&self, cluster: &ClusterId) -> Option<u64> {
        self.read(|state| state.cluster_revision(cluster))
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// The name of the store's life.
    #[must_use]
    pub fn generation(&self) -> [u8; 16] {
        self.generation
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read(SnapshotIndex::len)
    }

    /// True when there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seed that signs pages.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        *self.seed
    }

    /// All entries of some kinds, as one page of a gateway's view.
    #[must_use]
    pub fn excerpt(&self, kinds: &[RecordKind]) -> Page {
        self.read(|state| state.excerpt(kinds))
    }

    fn read<T>(&self, look: impl FnOnce(&SnapshotIndex) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a poll with a signed page: at once when there is something new, else when there is, when
    /// the wait is over, or when `stopping` turns true; `now_ms` is the clock for `issued_at_ms`.
    ///
    /// # Errors
    /// [`Behind`] when the page could be older than what its reader takes it for.
    pub async fn poll(
        &self,
        poll: Poll,
        mut stopping: watch::Receiver<bool>,
        now_ms: impl Fn() -> u64,
    ) -> Result<Vec<u8>, Behind> {
        let mut revision = self.revision.subscribe();
        self.catch_up(&poll.ask, &mut revision).await?;
        let deadline = Instant::now() + poll.wait;
        let mut over = false;
        let mut page = loop {
            // Marked before the look, so that a change between look and wait is not missed.
            revision.mark_unchanged();
            self.freshness.check()?;
            let (page, news) = self.read(|state| state.answer(&poll.ask));
            if news || over {
                break page;
            }
            tokio::select! {
                changed = revision.changed() => over = changed.is_err(),
                () = tokio::time::sleep_until(deadline) => over = true,
                _ = stopping.wait_for(|stop| *stop) => over = true,
                behind = self.freshness.until_behind() => return Err(behind),
            }
        };
        page.nonce = poll.nonce;
        page.issued_at_ms = now_ms();
        Ok(sign_page(&page, *self.seed))
    }

    /// Waits until this replica has what a reader got from another one: a page may not lead it back.
    async fn catch_up(&self, ask: &Ask, revision: &mut watch::Receiver<u64>) -> Result<(), Behind> {
        let caught_up = async {
            loop {
                revision.mark_unchanged();
                if !self.read(|state| state.is_behind(ask)) {
                    return Ok(());
                }
                revision.changed().await.map_err(|_| Behind)?;
            }
        };
        tokio::time::timeout(CATCH_UP, caught_up).await.map_err(|_| Behind)?
    }
}
