//! The audit log: append-only, each record once, gaps known.

use std::collections::HashMap;

use portcullis_core::audit::hex;
use portcullis_core::wire::{AuditAck, AuditBatch, AuditRecord};
use prost::Message;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::origin::{Origin, Refusals, Unfit};
use super::transaction::{Action, Transaction};
use super::{Store, StoreError};
use crate::clock::now_ms;

/// Bytes of one record at most.
const MAX_RECORD: usize = 64 * 1024;
/// Highest number that is believed: a proxy that lies must not make sums overflow.
const MAX_SEQUENCE: i64 = 1 << 48;
/// Records written in one go: a suspension waits for one such go at most.
const CHUNK: usize = 500;
/// Gaps listed for a stream at most; all are counted.
const MAX_GAPS: usize = 20;
/// Streams listed at most: those with gaps first, then the newest. All are counted.
const MAX_STREAMS: usize = 500;
/// Rows that one query looks through at most, when it filters by what has no index.
const MAX_SCAN: usize = 20_000;

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
    fn admits(&self, origin: &Origin, number: i64) -> Result<(), Unfit> {
        if self.principal != origin.principal() {
            return Err(Unfit::Stream);
        }
        let elapsed_s = clock().saturating_sub(self.began_at_ms) / 1000;
        // What is behind the highest number changes no sum.
        let plausible = number <= self.highest || origin.can_have_reached(number, self.base, elapsed_s);
        if plausible { Ok(()) } else { Err(Unfit::Number) }
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
    fn refuse(&mut self, unfit: Unfit) {
        *self.refusals.entry(unfit).or_default() += 1;
    }

    fn reject(&mut self, unfit: Unfit, records: u64) {
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
fn settle(connection: &Connection, origin: &Origin, settled: Settled) -> Result<Option<Unfit>, StoreError> {
    let Some(stream) = find_stream(connection, settled.stream)? else { return Ok(None) };
    if let Err(unfit) = stream.admits(origin, settled.number) {
        return Ok(Some(unfit));
    }
    connection
        .prepare_cached("UPDATE audit_stream SET highest = max(highest, ?2) WHERE id = ?1")?
        .execute(params![stream.id, settled.number])?;
    Ok(None)
}

/// Counts records that came and are not stored.
fn count_rejected(connection: &Connection, origin: &Origin, records: u64) -> Result<(), StoreError> {
    if records > 0 {
        let only = |kind: bool| if kind { records } else { 0 };
        connection
            .prepare_cached(
                "UPDATE audit_loss SET rejected = rejected + ?1, gateways = gateways + ?2,
                    sidecars = sidecars + ?3",
            )?
            .execute([records, only(origin.is_gateway()), only(origin.is_sidecar())])?;
    }
    Ok(())
}

/// Appends the records that their sender may write; those that are there already are counted, not stored
/// again.
pub(super) fn append(
    connection: &Connection,
    origin: &Origin,
    records: &[Parsed],
) -> Result<Ingested, StoreError> {
    let mut streams: HashMap<[u8; 16], Stream> = HashMap::new();
    let mut outcome = Ingested::default();
    let tenants = origin.tenants(connection)?;
    for parsed in records {
        if let Err(unfit) = origin.judge(&parsed.record, &tenants) {
            outcome.reject(unfit, 1);
            continue;
        }
        let stream = match streams.entry(parsed.stream) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(load_stream(connection, origin, parsed)?)
            }
        };
        match stream.admits(origin, parsed.sequence) {
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
    count_rejected(connection, origin, outcome.ack.rejected)?;
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
fn load_stream(connection: &Connection, origin: &Origin, first: &Parsed) -> Result<Stream, StoreError> {
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
            origin.principal(),
            origin.kind(),
            origin.base(first.sequence),
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

/// Which records are asked for; empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordQuery {
    /// Request id.
    pub request_id: Option<String>,
    /// Subject.
    pub subject: Option<String>,
    /// Cluster.
    pub cluster: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// `allow`, `refuse` or `none`.
    pub decision: Option<String>,
    /// Reason code.
    pub reason: Option<String>,
    /// The root id that recorded it, `sidecar` or `control`.
    pub hop: Option<String>,
    /// Records after this index.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
}

impl RecordQuery {
    fn fits(&self, record: &AuditRecord) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        same(&self.tenant, &record.tenant)
            && same(&self.decision, &record.decision)
            && same(&self.reason, &record.reason)
            && same(&self.hop, &record.hop)
    }
}

/// A stored record.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    /// Its position in the log, from 1.
    pub index: u64,
    /// RFC 9162 leaf hash.
    pub leaf: [u8; 32],
    /// Who sent it; empty for the service's own records and for those of older versions.
    pub principal: String,
    /// The record.
    pub record: AuditRecord,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamStatus {
    /// Its id, hexadecimal.
    pub stream: String,
    /// Node id of the proxy.
    pub proxy: String,
    /// The root id that recorded first.
    pub hop: String,
    /// To whom it belongs; empty for the service's own.
    pub principal: String,
    /// `gateway`, `sidecar`, `control`, or `unknown` for a stream that an older version began.
    pub kind: String,
    /// Records stored.
    pub stored: u64,
    /// The highest sequence number that came or, by the word of its filter, does not come any more.
    pub highest: u64,
    /// Sequence numbers below it that are missing.
    pub missing: u64,
    /// Records that came more than once.
    pub duplicates: u64,
    /// Of these, those whose content differed.
    pub conflicts: u64,
    /// The first missing ranges, both ends included.
    pub gaps: Vec<[u64; 2]>,
}

/// The whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditStatus {
    /// Records stored.
    pub total: u64,
    /// Sequence numbers that are missing.
    pub missing: u64,
    /// Records that came and could not be read, or that their sender may not write.
    pub rejected: u64,
    /// Everything lost: missing and rejected.
    pub lost: u64,
    /// Of these, what gateways sent or said.
    pub gateways_missing: u64,
    /// The same.
    pub gateways_rejected: u64,
    /// The same.
    pub gateways_lost: u64,
    /// Of these, what sidecars sent or said.
    pub sidecars_missing: u64,
    /// The same.
    pub sidecars_rejected: u64,
    /// The same.
    pub sidecars_lost: u64,
    /// Records that came more than once.
    pub duplicates: u64,
    /// Of these, those whose content differed.
    pub conflicts: u64,
    /// By stream: those with gaps first, then the newest, 500 at most.
    pub streams: Vec<StreamStatus>,
}

impl Store {
    /// Stores of a batch what its sender may write; returns when that is durable.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails. A part of the batch may be stored then; sent again, it counts
    /// as duplicates.
    pub async fn ingest(&self, origin: Origin, batch: AuditBatch) -> Result<Ingested, StoreError> {
        let settled = Settled::of(&batch);
        let total = batch.records.len();
        let parsed: Vec<_> = batch.records.into_iter().filter_map(Parsed::new).collect();
        let unreadable = u64::try_from(total - parsed.len()).unwrap_or(u64::MAX);
        let mut outcome = Ingested::default();
        outcome.reject(Unfit::Unreadable, unreadable);
        if unreadable > 0 {
            let origin = origin.clone();
            self.writer
                .run_bulk(move |transaction| count_rejected(transaction.connection(), &origin, unreadable))
                .await?;
        }
        if origin.is_gateway() {
            parsed.iter().for_each(|p| self.usage.note(&p.record));
        }
        let chunks = parsed.chunks(CHUNK);
        let last = chunks.len().saturating_sub(1);
        for (at, chunk) in chunks.enumerate() {
            let (chunk, origin) = (chunk.to_vec(), origin.clone());
            let settled = settled.filter(|_| at == last);
            let job = move |transaction: &mut Transaction<'_>| {
                let mut part = append(transaction.connection(), &origin, &chunk)?;
                if let Some(settled) = settled
                    && let Some(unfit) = settle(transaction.connection(), &origin, settled)?
                {
                    part.refuse(unfit);
                }
                Ok(part)
            };
            outcome.add(self.writer.run_bulk(job).await?);
        }
        self.notices.tell(&origin, &outcome.refusals);
        Ok(outcome)
    }

    /// Adds a record of something that an administrator did or tried.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn record(&self, action: Action, status: u16, reason: &str) -> Result<(), StoreError> {
        self.append(action.record(status, reason)).await
    }

    /// Adds a record of the service's own.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn append(&self, record: AuditRecord) -> Result<(), StoreError> {
        self.writer.run(move |transaction| transaction.record(record)).await
    }

    /// Records in the order of the log, and where to go on if there may be more.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn records(&self, query: RecordQuery) -> Result<(Vec<AuditRow>, Option<u64>), StoreError> {
        self.readers.run(move |connection| records(connection, &query)).await
    }

    /// What is stored, and what is known to be missing.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn audit_status(&self) -> Result<AuditStatus, StoreError> {
        self.readers.run(status).await
    }
}

fn records(connection: &Connection, query: &RecordQuery) -> Result<(Vec<AuditRow>, Option<u64>), StoreError> {
    let mut sql = "SELECT position, leaf, bytes, stream_id FROM audit_record WHERE position > ?".to_owned();
    let mut values = vec![Value::Integer(i64::try_from(query.after).unwrap_or(i64::MAX))];
    // `<> ''` repeats the condition of the partial indexes, without which they are not used.
    let indexed = [
        (&query.request_id, " AND request_id = ? AND request_id <> ''"),
        (&query.subject, " AND subject = ? AND subject <> ''"),
        (&query.cluster, " AND cluster = ? AND cluster <> ''"),
    ];
    for (wanted, condition) in indexed {
        if let Some(text) = wanted {
            sql.push_str(condition);
            values.push(Value::Text(text.clone()));
        }
    }
    sql.push_str(" ORDER BY position");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut sender = connection.prepare_cached("SELECT principal FROM audit_stream WHERE id = ?1")?;
    let (mut found, mut scanned, mut last) = (Vec::new(), 0, query.after);
    while let Some(row) = rows.next()? {
        if found.len() >= query.limit || scanned >= MAX_SCAN {
            return Ok((found, Some(last)));
        }
        scanned += 1;
        last = row.get(0)?;
        let bytes: Vec<u8> = row.get(2)?;
        let record = AuditRecord::decode(bytes.as_slice())
            .map_err(|e| StoreError::Database(format!("audit record {last} is not readable: {e}")))?;
        if query.fits(&record) {
            let principal = sender.query_row([row.get::<_, i64>(3)?], |row| row.get(0))?;
            found.push(AuditRow { index: last, leaf: row.get(1)?, principal, record });
        }
    }
    Ok((found, None))
}

fn status(connection: &Connection) -> Result<AuditStatus, StoreError> {
    let [rejected, gateways_rejected, sidecars_rejected]: [u64; 3] =
        connection.query_row("SELECT rejected, gateways, sidecars FROM audit_loss", [], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?])
        })?;
    let mut status = connection
        .prepare_cached(
            "SELECT coalesce(sum(stored), 0), coalesce(sum(highest - stored), 0),
                coalesce(sum(duplicates), 0), coalesce(sum(conflicts), 0),
                coalesce(sum(highest - stored) FILTER (WHERE kind = 'gateway'), 0),
                coalesce(sum(highest - stored) FILTER (WHERE kind = 'sidecar'), 0) FROM audit_stream",
        )?
        .query_row([], |row| {
            let missing: u64 = row.get(1)?;
            let (gateways_missing, sidecars_missing): (u64, u64) = (row.get(4)?, row.get(5)?);
            Ok(AuditStatus {
                total: row.get(0)?,
                missing,
                rejected,
                lost: missing.saturating_add(rejected),
                gateways_missing,
                gateways_rejected,
                gateways_lost: gateways_missing.saturating_add(gateways_rejected),
                sidecars_missing,
                sidecars_rejected,
                sidecars_lost: sidecars_missing.saturating_add(sidecars_rejected),
                duplicates: row.get(2)?,
                conflicts: row.get(3)?,
                streams: Vec::new(),
            })
        })?;
    let mut streams = connection.prepare_cached(
        "SELECT id, stream, proxy, hop, stored, highest, duplicates, conflicts, principal, kind FROM audit_stream
         ORDER BY highest > stored DESC, id DESC LIMIT ?1",
    )?;
    let mut rows = streams.query([MAX_STREAMS])?;
    while let Some(row) = rows.next()? {
        let (stored, highest): (u64, u64) = (row.get(4)?, row.get(5)?);
        let missing = highest.saturating_sub(stored);
        status.streams.push(StreamStatus {
            stream: hex(&row.get::<_, [u8; 16]>(1)?),
            proxy: row.get(2)?,
            hop: row.get(3)?,
            stored,
            highest,
            missing,
            duplicates: row.get(6)?,
            conflicts: row.get(7)?,
            principal: row.get(8)?,
            kind: row.get(9)?,
            gaps: if missing > 0 { gaps(connection, row.get(0)?)? } else { Vec::new() },
        });
    }
    Ok(status)
}

fn gaps(connection: &Connection, stream: i64) -> Result<Vec<[u64; 2]>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT previous + 1, sequence - 1 FROM
            (SELECT sequence, lag(sequence, 1, 0) OVER (ORDER BY sequence) AS previous FROM
                (SELECT sequence FROM audit_record WHERE stream_id = ?1
                 UNION ALL SELECT highest + 1 FROM audit_stream WHERE id = ?1))
         WHERE sequence > previous + 1 LIMIT ?2",
    )?;
    let rows = statement.query_map(params![stream, MAX_GAPS], |row| Ok([row.get(0)?, row.get(1)?]))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
