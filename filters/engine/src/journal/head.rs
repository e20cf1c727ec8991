//! The head of a journal: what other workers of the proxy must know of it.

use portcullis_protocol::audit::{hex, keyed_hash};

/// A journal whose head was not renewed for so long belongs to a VM that is gone, in milliseconds.
pub const DEAD_MS: u64 = 5_000;

/// Where a journal keeps its head and its slots: under a name that only who knows the mesh token can tell, so
/// that a VM that is loaded anew finds them and no other plugin can write or read there. The registry, which
/// everybody can read, lists the public names alone.
pub(super) fn hidden_name(key: &[u8; 32], name: &str) -> String {
    let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = keyed_hash(key, name.as_bytes());
    format!("portcullis.{}", hex(&half))
}

/// What the head of a journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JournalHead {
    pub(super) renewed_ms: u64,
    pub(super) acknowledged: u64,
    pub(super) slots: u64,
    /// Records that wait: for the metrics of the whole proxy.
    pub(super) waiting: u64,
}

impl JournalHead {
    pub(super) fn encode(self) -> Vec<u8> {
        let numbers = [self.renewed_ms, self.acknowledged, self.slots, self.waiting];
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let mut numbers = text.chunks_exact(8).map(|c| c.try_into().map(u64::from_le_bytes).ok());
        let mut next = || numbers.next()?;
        let head = Self { renewed_ms: next()?, acknowledged: next()?, slots: next()?, waiting: next()? };
        numbers.next().is_none().then_some(head).filter(|h| h.slots > 0)
    }

    /// Whether its worker is gone.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) > DEAD_MS
    }
}
