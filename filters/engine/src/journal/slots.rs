//! Slots of the proxy's shared data, in which records outlive their VM.

use super::Journal;
use super::head::JournalHead;
use crate::port::Store;

impl Journal {
    /// Begins a slot in the scratch buffer with the number of its record.
    pub(super) fn begin_slot(&mut self, number: u64) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&number.to_le_bytes());
    }

    /// Writes what stands in the scratch buffer into a slot, and tells which.
    pub(super) fn write_slot(&mut self, store: &dyn Store) -> u64 {
        let slot = self.take_slot(store);
        let prefix = self.hidden.len().saturating_add(1);
        self.slot_key.truncate(prefix);
        push_number(&mut self.slot_key, slot);
        // A slot that cannot be written leaves the record unprotected against a trap, no more.
        store.set(&self.slot_key, &self.scratch);
        slot
    }

    /// A slot that no waiting record uses, the most recently used first.
    fn take_slot(&mut self, store: &dyn Store) -> u64 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        let slot = self.used;
        self.used = self.used.saturating_add(1);
        if slot >= self.announced {
            self.announced = self.announced.saturating_mul(2);
            self.write_head(store);
        }
        slot
    }

    pub(super) fn write_head(&self, store: &dyn Store) {
        let head = JournalHead {
            renewed_ms: self.renewed_ms,
            acknowledged: self.acknowledged,
            slots: self.announced,
            waiting: self.waiting_here(),
        };
        store.set(&format!("{}.head", self.hidden), &head.encode());
    }
}

/// Appends a number in decimal.
pub(super) fn push_number(out: &mut String, number: u64) {
    let start = out.len();
    let mut rest = number;
    loop {
        let digit = u8::try_from(rest % 10).unwrap_or_default();
        out.insert(start, char::from(b'0'.saturating_add(digit)));
        rest /= 10;
        if rest == 0 {
            return;
        }
    }
}
