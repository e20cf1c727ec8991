//! What becomes of a batch of records.

use portcullis_protocol::wire::AuditAck;

use super::sender::{Refusals, RejectReason};

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ingested {
    /// The answer.
    pub ack: AuditAck,
    /// What was not taken: rejected records, and words about streams.
    pub refusals: Refusals,
}

impl Ingested {
    /// Counts words about a stream that are not taken.
    pub fn refuse(&mut self, unfit: RejectReason) {
        *self.refusals.entry(unfit).or_default() += 1;
    }

    /// Counts records that are not taken.
    pub fn reject(&mut self, unfit: RejectReason, records: u64) {
        if records > 0 {
            self.ack.rejected += records;
            *self.refusals.entry(unfit).or_default() += records;
        }
    }

    /// Adds what became of another part of the batch.
    pub fn add(&mut self, part: Self) {
        self.ack.stored += part.ack.stored;
        self.ack.duplicates += part.ack.duplicates;
        self.ack.rejected += part.ack.rejected;
        for (unfit, n) in part.refusals {
            *self.refusals.entry(unfit).or_default() += n;
        }
    }
}
