//! The audit log: append-only, each record once, gaps known.

use std::collections::HashMap;

use portcullis_core::audit::hex;
use portcullis_core::wire::{AuditAck, AuditBatch, AuditRecord};
use prost::Message;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::transaction::{Action, Transaction};
use super::{Store, StoreError};

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
    stored: i64,
    highest: i64,
    duplicates: i64,
    conflicts: i64,
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
fn settle(connection: &Connection, settled: Settled) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE audit_stream SET highest = max(highest, ?2) WHERE stream = ?1")?
        .execute(params![settled.stream, settled.number])?;
    Ok(())
}

/// Appends records; those that are there already are counted, not stored again.
pub(super) fn append(connection: &Connection, records: &[Parsed]) -> Result<AuditAck, StoreError> {
    let mut streams: HashMap<[u8; 16], Stream> = HashMap::new();
    let mut ack = AuditAck::default();
    let mut insert = connection.prepare_cached(
        "INSERT INTO audit_record (stream_id, sequence, request_id, subject, cluster, bytes, leaf)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (stream_id, sequence) DO NOTHING",
    )?;
    for parsed in records {
        let stream = match streams.entry(parsed.stream) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(load_stream(connection, parsed)?),
        };
        let record = &parsed.record;
        let stored = insert.execute(params![
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
        } else {
            stream.duplicates += 1;
            ack.duplicates += 1;
            if stored_leaf(connection, stream.id, parsed.sequence)? != parsed.leaf {
                stream.conflicts += 1;
                tracing::warn!(stream = %hex(&parsed.stream), sequence = parsed.sequence,
                    "an audit record came twice with different content; the first one stands");
            }
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
    Ok(ack)
}

fn load_stream(connection: &Connection, first: &Parsed) -> Result<Stream, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT id, stored, highest, duplicates, conflicts FROM audit_stream WHERE stream = ?1",
        )?
        .query_row([first.stream], |row| {
            Ok(Stream {
                id: row.get(0)?,
                stored: row.get(1)?,
                highest: row.get(2)?,
                duplicates: row.get(3)?,
                conflicts: row.get(4)?,
            })
        })
        .optional()?;
    if let Some(stream) = found {
        return Ok(stream);
    }
    connection
        .prepare_cached(
            "INSERT INTO audit_stream (stream, proxy, hop, stored, highest, duplicates, conflicts)
             VALUES (?1, ?2, ?3, 0, 0, 0, 0)",
        )?
        .execute(params![first.stream, first.record.proxy, first.record.hop])?;
    let id = connection.last_insert_rowid();
    Ok(Stream { id, stored: 0, highest: 0, duplicates: 0, conflicts: 0 })
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
    /// The root id that recorded it, or `control`.
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
    /// Records that came and could not be read.
    pub rejected: u64,
    /// Everything lost: missing and rejected.
    pub lost: u64,
    /// Records that came more than once.
    pub duplicates: u64,
    /// Of these, those whose content differed.
    pub conflicts: u64,
    /// By stream: those with gaps first, then the newest, 500 at most.
    pub streams: Vec<StreamStatus>,
}

impl Store {
    /// Stores a batch; returns when its records are durable.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails. A part of the batch may be stored then; sent again, it counts
    /// as duplicates.
    pub async fn ingest(&self, batch: AuditBatch) -> Result<AuditAck, StoreError> {
        let settled = Settled::of(&batch);
        let total = batch.records.len();
        let parsed: Vec<_> = batch.records.into_iter().filter_map(Parsed::new).collect();
        let rejected = u64::try_from(total - parsed.len()).unwrap_or(u64::MAX);
        let mut ack = AuditAck { rejected, ..AuditAck::default() };
        if rejected > 0 {
            self.writer
                .run_bulk(move |transaction| {
                    transaction
                        .connection()
                        .prepare_cached("UPDATE audit_loss SET rejected = rejected + ?1")?
                        .execute([rejected])?;
                    Ok(())
                })
                .await?;
        }
        parsed.iter().for_each(|p| self.usage.note(&p.record));
        let chunks = parsed.chunks(CHUNK);
        let last = chunks.len().saturating_sub(1);
        for (at, chunk) in chunks.enumerate() {
            let (chunk, settled) = (chunk.to_vec(), settled.filter(|_| at == last));
            let job = move |transaction: &mut Transaction<'_>| {
                let ack = append(transaction.connection(), &chunk)?;
                settled.map_or(Ok(()), |s| settle(transaction.connection(), s))?;
                Ok(ack)
            };
            let part = self.writer.run_bulk(job).await?;
            ack.stored += part.stored;
            ack.duplicates += part.duplicates;
        }
        Ok(ack)
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
    let mut sql = "SELECT position, leaf, bytes FROM audit_record WHERE position > ?".to_owned();
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
            found.push(AuditRow { index: last, leaf: row.get(1)?, record });
        }
    }
    Ok((found, None))
}

fn status(connection: &Connection) -> Result<AuditStatus, StoreError> {
    let rejected: u64 = connection.query_row("SELECT rejected FROM audit_loss", [], |row| row.get(0))?;
    let mut status = connection
        .prepare_cached(
            "SELECT coalesce(sum(stored), 0), coalesce(sum(highest - stored), 0),
                coalesce(sum(duplicates), 0), coalesce(sum(conflicts), 0) FROM audit_stream",
        )?
        .query_row([], |row| {
            let missing: u64 = row.get(1)?;
            Ok(AuditStatus {
                total: row.get(0)?,
                missing,
                rejected,
                lost: missing.saturating_add(rejected),
                duplicates: row.get(2)?,
                conflicts: row.get(3)?,
                streams: Vec::new(),
            })
        })?;
    let mut streams = connection.prepare_cached(
        "SELECT id, stream, proxy, hop, stored, highest, duplicates, conflicts FROM audit_stream
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
