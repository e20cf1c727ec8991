//! Records on their way to the control service.
//!
//! A record waits in this VM's memory until the control service says that it is durable. A trap would
//! take that memory away, so each record also stands in a slot of the proxy's shared data, which outlives
//! the VM: written once per record, read only when somebody has to recover, and used again as soon as the
//! record is acknowledged, so that a few warm slots serve for most. (A shared queue would do too, but each
//! `enqueue` wakes a worker; a slot costs a fraction of that.)
//!
//! Every journal of a proxy is listed in a registry, and its owner renews its head. When a head is not
//! renewed for [`DEAD_MS`], the VM is gone: another one takes the journal out of the registry, reads what
//! was not acknowledged, and delivers it. The control service deduplicates, so a record may come twice.
//! Other plugins can write into shared data as well, but only under names that they know: those of slots and
//! heads are made with a key that is derived from the mesh token.
//!
//! Records are laid down as the batches in which they will be sent, one behind the other in one buffer,
//! and buffers are used again: keeping and sending a record allocates nothing.

mod batch;
pub mod courier;
mod head;
mod recovery;
mod slots;

use std::collections::VecDeque;

use portcullis_model::backoff::pause_ms;
use portcullis_model::config::AuditLimits;
use portcullis_protocol::audit::StreamId;

use crate::journal::batch::{Batch, keep};
pub use crate::journal::head::DEAD_MS;
use crate::journal::head::hidden_name;
use crate::port::Store;

/// Batches that were acknowledged and are kept to be filled again.
const SPARE: usize = 4;

/// Slots that a head announces at first; doubled when they do not suffice.
const FIRST_SLOTS: u64 = 256;

/// Bytes that a waiting record may take on average; with `maxWaiting` it bounds the memory.
const BYTES_PER_RECORD: usize = 1024;

/// Bytes of a record's number in its slot.
const NUMBER_LEN: usize = 8;

/// The first and the longest pause after a failed delivery, in milliseconds.
const RETRY_MS: (u64, u64) = (100, 5_000);

/// The batch that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchOrigin {
    Recovered,
    Own,
}

/// The records of one VM.
pub struct Journal {
    key: [u8; 32],
    space: String,
    stream: StreamId,
    name: String,
    /// Where its head and its slots stand.
    hidden: String,
    limits: AuditLimits,
    /// Records that may wait at most.
    bound: u64,
    last: u64,
    acknowledged: u64,
    announced: u64,
    used: u64,
    free: Vec<u64>,
    waiting: VecDeque<Batch>,
    waiting_records: usize,
    waiting_bytes: usize,
    recovered: VecDeque<Batch>,
    spare: Vec<Batch>,
    flight: Option<BatchOrigin>,
    failures: u32,
    retry_at_ms: u64,
    renewed_ms: u64,
    renew_at_ms: u64,
    /// Records that wait in other workers, as their heads said last.
    waiting_elsewhere: u64,
    slot_key: String,
    scratch: Vec<u8>,
}

impl Journal {
    /// A journal of a fresh random name. `space` keeps journals apart that go to different services.
    #[must_use]
    pub fn new(stream: StreamId, key: [u8; 32], space: &str, limits: AuditLimits) -> Self {
        let name = format!("portcullis.{}", stream.to_hex());
        let hidden = hidden_name(&key, &name);
        Self {
            key,
            space: space.to_owned(),
            stream,
            limits,
            bound: u64::from(limits.max_waiting).saturating_mul(2),
            last: 0,
            acknowledged: 0,
            announced: FIRST_SLOTS,
            used: 0,
            free: Vec::new(),
            waiting: VecDeque::new(),
            waiting_records: 0,
            waiting_bytes: 0,
            recovered: VecDeque::new(),
            spare: Vec::new(),
            flight: None,
            failures: 0,
            retry_at_ms: 0,
            renewed_ms: 0,
            renew_at_ms: 0,
            waiting_elsewhere: 0,
            slot_key: format!("{hidden}."),
            hidden,
            name,
            scratch: Vec::new(),
        }
    }

    /// True when no more may wait: a new request must be refused, because its record could not be kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let bound = usize::try_from(self.limits.max_waiting).unwrap_or(usize::MAX);
        self.waiting_records >= bound || self.waiting_bytes >= bound.saturating_mul(BYTES_PER_RECORD)
    }

    /// Records of this worker that wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting_here()
    }

    /// Records that wait, in this worker and in the proxy's others as of their last renewal.
    #[must_use]
    pub fn waiting_in_all(&self) -> u64 {
        self.waiting_here().saturating_add(self.waiting_elsewhere)
    }

    fn waiting_here(&self) -> u64 {
        let recovered: usize = self.recovered.iter().map(|batch| batch.records).sum();
        u64::try_from(self.waiting_records.saturating_add(recovered)).unwrap_or(u64::MAX)
    }

    /// The number of the next record; its stream counts from 1 without gaps.
    pub fn next_number(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    /// Keeps a record under the number it was given; `write` appends it. Beyond the limit there is room for
    /// as many again, for requests under way when it was reached and for refusals; past that a record is
    /// dropped, and because its number is missing, the control service counts it as lost. False when it
    /// was dropped.
    pub fn append(&mut self, store: &dyn Store, number: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let held = u64::try_from(self.waiting_records).unwrap_or(u64::MAX);
        let bytes = usize::try_from(self.bound).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_RECORD);
        if held >= self.bound || self.waiting_bytes >= bytes {
            return false;
        }
        self.begin_slot(number);
        write(&mut self.scratch);
        let slot = self.write_slot(store);
        let record = self.scratch.get(NUMBER_LEN..).unwrap_or_default();
        let spare = &mut self.spare;
        let grown = keep(
            &mut self.waiting,
            self.flight == Some(BatchOrigin::Own),
            usize::try_from(self.limits.batch).unwrap_or(usize::MAX),
            || spare.pop().unwrap_or_default(),
            (number, slot, record),
        );
        self.waiting_records = self.waiting_records.saturating_add(1);
        self.waiting_bytes = self.waiting_bytes.saturating_add(grown);
        true
    }

    /// True when a whole batch waits, which should be sent as soon as the one before is acknowledged. What
    /// is less can wait for others: each delivery costs a proxy about as much as two requests.
    #[must_use]
    pub fn has_full_batch(&self) -> bool {
        !self.recovered.is_empty() || self.waiting.len() > 1
    }

    /// The batch to send now, an encoded [`AuditBatch`](portcullis_protocol::wire::AuditBatch); `None` when one
    /// is under way, when a failed one has to wait, or when there is nothing. Records of VMs that are gone
    /// come first.
    pub fn next_batch(&mut self, now_ms: u64) -> Option<&[u8]> {
        if self.flight.is_some() || now_ms < self.retry_at_ms {
            return None;
        }
        let (flight, sent) = match (self.recovered.is_empty(), self.waiting.is_empty()) {
            (false, _) => (BatchOrigin::Recovered, 0),
            (true, false) => (BatchOrigin::Own, 1),
            (true, true) => return None,
        };
        // The number up to which nothing is still to come once this batch has arrived.
        let settled = self.waiting.get(sent).map_or(self.last, |next| next.first.saturating_sub(1));
        let batches = if flight == BatchOrigin::Own { &mut self.waiting } else { &mut self.recovered };
        self.flight = Some(flight);
        let stream = self.stream;
        batches.front_mut().map(|batch| batch.seal(stream, settled))
    }

    /// The control service answered, or did not. Only an acknowledgement lets the batch be forgotten.
    pub fn answered(&mut self, acknowledged: bool, now_ms: u64) {
        let Some(flight) = self.flight.take() else { return };
        if !acknowledged {
            let pause = pause_ms(RETRY_MS, self.failures);
            self.failures = self.failures.saturating_add(1);
            // A part that differs from stream to stream keeps them from returning all at once.
            let jitter =
                u64::from(self.stream.0.first().copied().unwrap_or_default()).saturating_mul(pause) / 1024;
            self.retry_at_ms = now_ms.saturating_add(pause).saturating_add(jitter);
            return;
        }
        self.failures = 0;
        self.retry_at_ms = 0;
        match flight {
            BatchOrigin::Recovered => {
                let done = self.recovered.pop_front();
                self.free.extend(done.into_iter().flat_map(|batch| batch.slots));
            }
            BatchOrigin::Own => self.forget_first(),
        }
    }

    fn forget_first(&mut self) {
        let Some(mut batch) = self.waiting.pop_front() else { return };
        self.acknowledged = batch.last;
        self.waiting_records = self.waiting_records.saturating_sub(batch.records);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(batch.body);
        self.free.append(&mut batch.slots);
        batch.clear();
        if self.spare.len() < SPARE {
            self.spare.push(batch);
        }
    }

    /// Forgets every record that waits, after a failure that may have left one half written. Their numbers are
    /// missing from the stream, so the control service counts them as lost.
    pub fn begin_again(&mut self) {
        for batch in std::mem::take(&mut self.waiting) {
            self.free.extend(batch.slots);
        }
        for batch in std::mem::take(&mut self.recovered) {
            self.free.extend(batch.slots);
        }
        self.waiting_records = 0;
        self.waiting_bytes = 0;
        self.spare.clear();
        self.flight = None;
        self.scratch.clear();
    }
}

#[cfg(test)]
mod tests;
