//! Long polls: a reader waits here until there is something new for it.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use portcullis_protocol::snapshot::sign_page;
use portcullis_protocol::wire::{Page, RecordKind};
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{Ask, Published, SnapshotIndex};

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
}

impl Hub {
    /// A hub over a snapshot, with the seed that signs its pages.
    #[must_use]
    pub fn new(state: SnapshotIndex, generation: [u8; 16], seed: Zeroizing<[u8; 32]>) -> Self {
        let revision = watch::Sender::new(state.revision());
        Self { state: RwLock::new(state), revision, generation, seed }
    }

    /// Takes over what a commit changed and wakes every waiting poll.
    pub fn publish(&self, published: Published) {
        if published.changes.is_empty() && published.floor == 0 {
            return;
        }
        let revision = {
            // A panic while the lock was held left at worst an incomplete page of one reader.
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.publish(published);
            state.revision()
        };
        self.revision.send_replace(revision);
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
    pub async fn poll(
        &self,
        poll: Poll,
        mut stopping: watch::Receiver<bool>,
        now_ms: impl Fn() -> u64,
    ) -> Vec<u8> {
        let deadline = Instant::now() + poll.wait;
        let mut revision = self.revision.subscribe();
        let mut over = false;
        let mut page = loop {
            // Marked before the look, so that a change between look and wait is not missed.
            revision.mark_unchanged();
            let (page, news) = self.read(|state| state.answer(&poll.ask));
            if news || over {
                break page;
            }
            tokio::select! {
                changed = revision.changed() => over = changed.is_err(),
                () = tokio::time::sleep_until(deadline) => over = true,
                _ = stopping.wait_for(|stop| *stop) => over = true,
            }
        };
        page.nonce = poll.nonce;
        page.issued_at_ms = now_ms();
        sign_page(&page, *self.seed)
    }
}
