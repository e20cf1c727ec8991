//! The numbered streams that records come in.

use portcullis_protocol::wire::AuditBatch;

use super::record::MAX_SEQUENCE;
use super::sender::{RejectReason, Sender};

/// A stream of records, by what was written of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// To whom it belongs; empty for the service's own.
    pub principal: String,
    /// Where it began.
    pub base: i64,
    /// When it was first heard of, milliseconds since the Unix epoch.
    pub began_at_ms: i64,
    /// Records stored.
    pub stored: i64,
    /// The highest number that came or does not come any more.
    pub highest: i64,
    /// Records that came more than once.
    pub duplicates: i64,
    /// Of these, those whose content differed.
    pub conflicts: i64,
}

impl Stream {
    /// Whether the stream is the sender's, and can have come so far by now.
    ///
    /// # Errors
    /// Why what is said of it is not taken.
    pub fn admits(&self, sender: &Sender, number: i64, now_ms: i64) -> Result<(), RejectReason> {
        if self.principal != sender.principal() {
            return Err(RejectReason::Stream);
        }
        let elapsed_s = now_ms.saturating_sub(self.began_at_ms) / 1000;
        // What is behind the highest number changes no sum.
        let plausible = number <= self.highest || sender.can_have_reached(number, self.base, elapsed_s);
        if plausible { Ok(()) } else { Err(RejectReason::Number) }
    }

    /// Takes note of a record that was stored.
    pub fn stored(&mut self, sequence: i64) {
        self.stored += 1;
        self.highest = self.highest.max(sequence);
    }

    /// Takes note of a record that was there already; `differs`: with other content.
    pub fn repeated(&mut self, differs: bool) {
        self.duplicates += 1;
        self.conflicts += i64::from(differs);
    }
}

/// What a filter says of its own stream: numbers up to this one are not to come any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The stream.
    pub stream: [u8; 16],
    /// The number.
    pub number: i64,
}

impl Settled {
    /// What a batch says, if it says anything.
    #[must_use]
    pub fn of(batch: &AuditBatch) -> Option<Self> {
        let stream = batch.stream.as_slice().try_into().ok()?;
        let number = i64::try_from(batch.settled).ok().filter(|n| (1..=MAX_SEQUENCE).contains(n))?;
        Some(Self { stream, number })
    }
}
