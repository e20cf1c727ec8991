//! Records as they are sent: laid down once, one behind the other, in the form of the message.

use std::collections::VecDeque;

use portcullis_protocol::audit::StreamId;

use portcullis_protocol::record;

/// Bytes of records in one batch: a quarter of what the control service takes. A batch that is never taken
/// would be sent for ever, and nothing behind it.
pub(crate) const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// Records that are sent together.
#[derive(Default)]
pub(crate) struct Batch {
    /// An encoded [`AuditBatch`](portcullis_protocol::wire::AuditBatch).
    bytes: Vec<u8>,
    /// Length of the records in it; what is said of the stream when it is sent follows.
    pub(crate) body: usize,
    /// How many records.
    pub(crate) records: usize,
    /// The slots of the records.
    pub(crate) slots: Vec<u64>,
    /// The number of the first record.
    pub(crate) first: u64,
    /// The number of the last record.
    pub(crate) last: u64,
}

impl Batch {
    /// Whether a record of this length may be added.
    fn has_room(&self, length: usize, limit: usize) -> bool {
        self.records == 0 || (self.records < limit && self.body.saturating_add(length) <= MAX_BATCH_BYTES)
    }

    /// Adds a record; returns by how many bytes the batch grew.
    fn push(&mut self, number: u64, slot: u64, record: &[u8]) -> usize {
        let before = self.body;
        self.bytes.truncate(before);
        // Field 1 of `AuditBatch`.
        record::bytes(&mut self.bytes, 1, record);
        self.body = self.bytes.len();
        if self.records == 0 {
            self.first = number;
        }
        self.records = self.records.saturating_add(1);
        self.last = number;
        self.slots.push(slot);
        self.body.saturating_sub(before)
    }

    /// The batch with what it says of the sender's stream.
    pub(crate) fn seal(&mut self, stream: StreamId, settled: u64) -> &[u8] {
        self.bytes.truncate(self.body);
        record::bytes(&mut self.bytes, 2, &stream.0);
        record::number(&mut self.bytes, 3, settled);
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.slots.clear();
        self.body = 0;
        self.records = 0;
    }
}

/// Puts a record into the last of these batches that is not under way, or begins another: one under way
/// must stay as it was sent. Returns by how many bytes they grew.
pub(crate) fn keep(
    batches: &mut VecDeque<Batch>,
    under_way: bool,
    limit: usize,
    fresh: impl FnOnce() -> Batch,
    (number, slot, record): (u64, u64, &[u8]),
) -> usize {
    let open = batches.len() > usize::from(under_way);
    if !(open && batches.back().is_some_and(|b| b.has_room(record.len(), limit))) {
        batches.push_back(fresh());
    }
    batches.back_mut().map_or(0, |batch| batch.push(number, slot, record))
}
