//! The audit log: append-only, each record once, gaps known.

mod read;

use std::collections::HashMap;

use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::{AuditAck, AuditBatch, AuditRecord};
use prost::Message;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::sender::{Refusals, RejectReason, Sender};
use super::transaction::{AuditEvent, Transaction};
use super::{Store, StoreError};
use crate::clock::now_ms;

pub use read::{AuditRow, AuditStatus, RecordQuery, StreamStatus};

/// Bytes of one record at most.
const MAX_RECORD: usize = 64 * 1024;
/// Highest number that is believed: a proxy that lies must not make sums overflow.
const MAX_SEQUENCE: i64 = 1 << 48;
/// Records written in one go: a suspension waits for one such go at most.
const CHUNK: usize = 500;

/// A record that can be stored: readable, of a stream, numbered.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    bytes: Vec<u8>,
    leaf: [u8; 32],
    stream: [u8; 16],
    sequence: i64,
    record: AuditRecord,
}

impl Parsed {
    /// Reads an encoded record; `None` when it cannot be told apart from garbage.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() > MAX_RECORD {
            return None;
        }
        let record = AuditRecord::decode(bytes.as_slice()).ok()?;
        let stream = record.stream.as_slice().try_into().ok()?;
        let sequence = i64::try_from(record.sequence).ok().filter(|s| (1..=MAX_SEQUENCE).contains(s))?;
        // RFC 9162 §2.1.1: a leaf is hashed with a zero byte in front.
        let leaf = Sha256::new().chain_update([0]).chain_update(&bytes).finalize().into();
        Some(Self { bytes, leaf, stream, sequence, record })
    }
}

struct Stream {
    id: i64,
    principal: String,
    base: i64,
    began_at_ms: i64,
    stored: i64,
    highest: i64,
    duplicates: i64,
    conflicts: i64,
}

impl Stream {
    /// Whether the stream is the sender's, and can have come so far by now.
    fn admits(&self, sender: &Sender, number: i64) -> Result<(), RejectReason> {
        if self.principal != sender.principal() {
            return Err(RejectReason::Stream);
        }
        let elapsed_s = clock().saturating_sub(self.began_at_ms) / 1000;
        // What is behind the highest number changes no sum.
        let plausible = number <= self.highest || sender.can_have_reached(number, self.base, elapsed_s);
        if plausible { Ok(()) } else { Err(RejectReason::Number) }
    }
}

fn clock() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ingested {
    /// The answer.
    pub ack: AuditAck,
    /// What was not taken: rejected records, and words about streams.
    pub refusals: Refusals,
}

impl Ingested {
    fn refuse(&mut self, unfit: RejectReason) {
        *self.refusals.entry(unfit).or_default() += 1;
    }

    fn reject(&mut self, unfit: RejectReason, records: u64) {
        if records > 0 {
            self.ack.rejected += records;
            *self.refusals.entry(unfit).or_default() += records;
        }
    }

    fn add(&mut self, part: Self) {
        self.ack.stored += part.ack.stored;
        self.ack.duplicates += part.ack.duplicates;
        self.ack.rejected += part.ack.rejected;
        for (unfit, n) in part.refusals {
            *self.refusals.entry(unfit).or_default() += n;
        }
    }
}

/// What a filter says of its own stream: numbers up to this one are not to come any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settled {
    stream: [u8; 16],
    number: i64,
}

impl Settled {
    fn of(batch: &AuditBatch) -> Option<Self> {
        let stream = batch.stream.as_slice().try_into().ok()?;
        let number = i64::try_from(batch.settled).ok().filter(|n| (1..=MAX_SEQUENCE).contains(n))?;
        Some(Self { stream, number })
    }
}

/// Numbers that are not to come and are not there are missing, also behind the last record.
fn settle(
    connection: &Connection,
    sender: &Sender,
    settled: Settled,
) -> Result<Option<RejectReason>, StoreError> {
    let Some(stream) = find_stream(connection, settled.stream)? else { return Ok(None) };
    if let Err(unfit) = stream.admits(sender, settled.number) {
        return Ok(Some(unfit));
    }
    connection
        .prepare_cached("UPDATE audit_stream SET highest = max(highest, ?2) WHERE id = ?1")?
        .execute(params![stream.id, settled.number])?;
    Ok(None)
}

/// Counts records that came and are not stored.
fn count_rejected(connection: &Connection, sender: &Sender, records: u64) -> Result<(), StoreError> {
    if records > 0 {
        let only = |kind: bool| if kind { records } else { 0 };
        connection
            .prepare_cached(
                "UPDATE audit_loss SET rejected = rejected + ?1, gateways = gateways + ?2,
                    sidecars = sidecars + ?3",
            )?
            .execute([records, only(sender.is_gateway()), only(sender.is_sidecar())])?;
    }
    Ok(())
}

/// Appends the records that their sender may write; those that are there already are counted, not stored
/// again.
pub(super) fn append(
    connection: &Connection,
    sender: &Sender,
    records: &[Parsed],
) -> Result<Ingested, StoreError> {
    let mut streams: HashMap<[u8; 16], Stream> = HashMap::new();
    let mut outcome = Ingested::default();
    let tenants = sender.tenants(connection)?;
    for parsed in records {
        if let Err(unfit) = sender.judge(&parsed.record, &tenants) {
            outcome.reject(unfit, 1);
            continue;
        }
        let stream = match streams.entry(parsed.stream) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(load_stream(connection, sender, parsed)?)
            }
        };
        match stream.admits(sender, parsed.sequence) {
            Ok(()) => insert(connection, stream, parsed, &mut outcome.ack)?,
            Err(unfit) => outcome.reject(unfit, 1),
        }
    }
    let mut update = connection.prepare_cached(
        "UPDATE audit_stream SET stored = ?2, highest = ?3, duplicates = ?4, conflicts = ?5 WHERE id = ?1",
    )?;
    for stream in streams.values() {
        update.execute(params![
            stream.id,
            stream.stored,
            stream.highest,
            stream.duplicates,
            stream.conflicts
        ])?;
    }
    count_rejected(connection, sender, outcome.ack.rejected)?;
    Ok(outcome)
}

/// Appends a record to its stream.
fn insert(
    connection: &Connection,
    stream: &mut Stream,
    parsed: &Parsed,
    ack: &mut AuditAck,
) -> Result<(), StoreError> {
    let record = &parsed.record;
    let stored = connection
        .prepare_cached(
            "INSERT INTO audit_record (stream_id, sequence, request_id, subject, cluster, bytes, leaf)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (stream_id, sequence) DO NOTHING",
        )?
        .execute(params![
            stream.id,
            parsed.sequence,
            record.request_id,
            record.subject,
            record.cluster,
            parsed.bytes,
            parsed.leaf
        ])?;
    if stored == 1 {
        stream.stored += 1;
        stream.highest = stream.highest.max(parsed.sequence);
        ack.stored += 1;
        return Ok(());
    }
    stream.duplicates += 1;
    ack.duplicates += 1;
    if stored_leaf(connection, stream.id, parsed.sequence)? != parsed.leaf {
        stream.conflicts += 1;
        tracing::warn!(stream = %hex(&parsed.stream), sequence = parsed.sequence,
            "an audit record came twice with different content; the first one stands");
    }
    Ok(())
}

fn find_stream(connection: &Connection, stream: [u8; 16]) -> Result<Option<Stream>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT id, principal, base, began_at_ms, stored, highest, duplicates, conflicts
             FROM audit_stream WHERE stream = ?1",
        )?
        .query_row([stream], |row| {
            Ok(Stream {
                id: row.get(0)?,
                principal: row.get(1)?,
                base: row.get(2)?,
                began_at_ms: row.get(3)?,
                stored: row.get(4)?,
                highest: row.get(5)?,
                duplicates: row.get(6)?,
                conflicts: row.get(7)?,
            })
        })
        .optional()?)
}

/// The stream of a record; a new one is its sender's from now on, and so is one that nobody owns yet.
fn load_stream(connection: &Connection, sender: &Sender, first: &Parsed) -> Result<Stream, StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO audit_stream (stream, proxy, hop, stored, highest, duplicates, conflicts, principal,
                kind, base, began_at_ms)
             VALUES (?1, ?2, ?3, 0, 0, 0, 0, ?4, ?5, ?6, ?7)
             ON CONFLICT (stream) DO UPDATE SET principal = ?4, kind = ?5 WHERE kind = 'unknown'",
        )?
        .execute(params![
            first.stream,
            first.record.proxy,
            first.record.hop,
            sender.principal(),
            sender.kind(),
            sender.base(first.sequence),
            clock()
        ])?;
    find_stream(connection, first.stream)?
        .ok_or_else(|| StoreError::Database("an audit stream is gone that was just written".to_owned()))
}

fn stored_leaf(connection: &Connection, stream: i64, sequence: i64) -> Result<[u8; 32], StoreError> {
    Ok(connection
        .prepare_cached("SELECT leaf FROM audit_record WHERE stream_id = ?1 AND sequence = ?2")?
        .query_row([stream, sequence], |row| row.get(0))?)
}

impl Store {
    /// Stores of a batch what its sender may write; returns when that is durable.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails. A part of the batch may be stored then; sent again, it counts
    /// as duplicates.
    pub async fn ingest(&self, sender: Sender, batch: AuditBatch) -> Result<Ingested, StoreError> {
        let settled = Settled::of(&batch);
        let total = batch.records.len();
        let parsed: Vec<_> = batch.records.into_iter().filter_map(Parsed::new).collect();
        let unreadable = u64::try_from(total - parsed.len()).unwrap_or(u64::MAX);
        let mut outcome = Ingested::default();
        outcome.reject(RejectReason::Unreadable, unreadable);
        if unreadable > 0 {
            let sender = sender.clone();
            self.writer
                .run_bulk(move |transaction| count_rejected(transaction.connection(), &sender, unreadable))
                .await?;
        }
        if sender.is_gateway() {
            parsed.iter().for_each(|p| self.usage.note(&p.record));
        }
        let chunks = parsed.chunks(CHUNK);
        let last = chunks.len().saturating_sub(1);
        for (at, chunk) in chunks.enumerate() {
            let (chunk, sender) = (chunk.to_vec(), sender.clone());
            let settled = settled.filter(|_| at == last);
            let job = move |transaction: &mut Transaction<'_>| {
                let mut part = append(transaction.connection(), &sender, &chunk)?;
                if let Some(settled) = settled
                    && let Some(unfit) = settle(transaction.connection(), &sender, settled)?
                {
                    part.refuse(unfit);
                }
                Ok(part)
            };
            outcome.add(self.writer.run_bulk(job).await?);
        }
        self.notices.tell(&sender, &outcome.refusals);
        Ok(outcome)
    }

    /// Adds a record of something that an administrator did or tried.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn record(&self, action: AuditEvent, status: u16, reason: &str) -> Result<(), StoreError> {
        self.append(action.record(status, reason)).await
    }

    /// Adds a record of the service's own.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn append(&self, record: AuditRecord) -> Result<(), StoreError> {
        self.writer.run(move |transaction| transaction.record(record)).await
    }
}
