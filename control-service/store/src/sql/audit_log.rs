//! The tables of the audit log: streams, and their records.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use portcullis_control_domain::audit::{Ingested, Parsed, RejectReason, Sender, Settled, Stream, Tenants};
use portcullis_control_domain::clock::now_ms;
use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::AuditAck;
use portcullis_sql::{Connection, params};

use super::failure::Failure;

/// Bytes of a text by which records are found.
const LONGEST: usize = 512;

/// A stream, and its place in the database.
struct StoredStream {
    id: i64,
    stream: Stream,
}

fn clock() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

/// Numbers that are not to come and are not there are missing, also behind the last record.
pub(super) fn settle(
    connection: &Connection,
    sender: &Sender,
    settled: Settled,
) -> Result<Option<RejectReason>, Failure> {
    let Some(StoredStream { id, stream }) = find_stream(connection, settled.stream)? else { return Ok(None) };
    if let Err(unfit) = stream.admits(sender, settled.number, clock()) {
        return Ok(Some(unfit));
    }
    connection.execute(
        "UPDATE audit_stream SET highest = ?2 WHERE id = ?1 AND highest < ?2",
        params![id, settled.number],
    )?;
    Ok(None)
}

/// Counts records that came and are not stored.
pub(super) fn count_rejected(connection: &Connection, sender: &Sender, records: u64) -> Result<(), Failure> {
    if records > 0 {
        let only = |kind: bool| if kind { records } else { 0 };
        connection.execute(
            "UPDATE audit_loss SET rejected = rejected + ?1, gateways = gateways + ?2,
                    sidecars = sidecars + ?3",
            params![records, only(sender.is_gateway()), only(sender.is_sidecar())],
        )?;
    }
    Ok(())
}

/// Appends the records that their sender may write; those that are there already are counted, not stored
/// again.
pub(super) fn append(
    connection: &Connection,
    sender: &Sender,
    records: &[Parsed],
) -> Result<Ingested, Failure> {
    let mut streams: HashMap<[u8; 16], StoredStream> = HashMap::new();
    let mut outcome = Ingested::default();
    let tenants = tenants(connection, sender)?;
    let mut size = size(connection)?;
    for parsed in records {
        if let Err(unfit) = sender.judge(parsed.record(), &tenants) {
            outcome.reject(unfit, 1);
            continue;
        }
        let stream = match streams.entry(parsed.stream()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(load_stream(connection, sender, parsed)?),
        };
        match stream.stream.admits(sender, parsed.sequence(), clock()) {
            Ok(()) => insert(connection, &mut size, stream, parsed, &mut outcome.ack)?,
            Err(unfit) => outcome.reject(unfit, 1),
        }
    }
    let update =
        "UPDATE audit_stream SET stored = ?2, highest = ?3, duplicates = ?4, conflicts = ?5 WHERE id = ?1";
    for StoredStream { id, stream } in streams.values() {
        let Stream { stored, highest, duplicates, conflicts, .. } = stream;
        connection.execute(update, params![id, stored, highest, duplicates, conflicts])?;
    }
    count_rejected(connection, sender, outcome.ack.rejected)?;
    Ok(outcome)
}

/// Appends a record to its stream, and to the log, which has `size` records.
fn insert(
    connection: &Connection,
    size: &mut u64,
    stream: &mut StoredStream,
    parsed: &Parsed,
    ack: &mut AuditAck,
) -> Result<(), Failure> {
    let record = parsed.record();
    let stored = connection.execute(
        "INSERT INTO audit_record (position, stream_id, sequence, request_id, subject, cluster, bytes, leaf)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (stream_id, sequence) DO NOTHING",
        params![
            *size + 1,
            stream.id,
            parsed.sequence(),
            plain(&record.request_id),
            plain(&record.subject),
            plain(&record.cluster),
            parsed.bytes(),
            parsed.leaf()
        ],
    )?;
    if stored == 1 {
        *size += 1;
        stream.stream.stored(parsed.sequence());
        ack.stored += 1;
        return Ok(());
    }
    let differs = stored_leaf(connection, stream.id, parsed.sequence())? != *parsed.leaf();
    stream.stream.repeated(differs);
    ack.duplicates += 1;
    if differs {
        tracing::warn!(stream = %hex(&parsed.stream()), sequence = parsed.sequence(),
            "an audit record came twice with different content; the first one stands");
    }
    Ok(())
}

/// Records in the log. There is one writer at a time, so the next one's index is one more.
fn size(connection: &Connection) -> Result<u64, Failure> {
    Ok(connection
        .query_one("SELECT coalesce(max(position), 0) FROM audit_record", params![], |row| row.get(0))?)
}

/// A text of a record as a column: PostgreSQL keeps no zero byte in a text and no long text in an index, and a record
/// with such a text must not keep those behind it from being stored. The record itself is kept as it came.
fn plain(text: &str) -> Cow<'_, str> {
    let text = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The tenants of the sender's clusters, where they matter. A cluster that nobody registered has none.
fn tenants(connection: &Connection, sender: &Sender) -> Result<Tenants, Failure> {
    let mut tenants = Tenants::new();
    let select = "SELECT tenant FROM cluster WHERE id = ?1";
    for id in sender.clusters() {
        let tenant: Option<String> =
            connection.query_optional(select, params![id.as_str()], |row| row.get(0))?;
        tenants.insert(id.clone(), tenant.unwrap_or_default());
    }
    Ok(tenants)
}

fn find_stream(connection: &Connection, stream: [u8; 16]) -> Result<Option<StoredStream>, Failure> {
    Ok(connection.query_optional(
        "SELECT id, principal, base, began_at_ms, stored, highest, duplicates, conflicts
             FROM audit_stream WHERE stream = ?1",
        params![stream],
        |row| {
            let stream = Stream {
                principal: row.get(1)?,
                base: row.get(2)?,
                began_at_ms: row.get(3)?,
                stored: row.get(4)?,
                highest: row.get(5)?,
                duplicates: row.get(6)?,
                conflicts: row.get(7)?,
            };
            Ok(StoredStream { id: row.get(0)?, stream })
        },
    )?)
}

/// The stream of a record; a new one is its sender's from now on, and so is one that nobody owns yet.
fn load_stream(connection: &Connection, sender: &Sender, first: &Parsed) -> Result<StoredStream, Failure> {
    connection
        .execute("INSERT INTO audit_stream (stream, proxy, hop, stored, highest, duplicates, conflicts, principal,
                kind, base, began_at_ms)
             VALUES (?1, ?2, ?3, 0, 0, 0, 0, ?4, ?5, ?6, ?7)
             ON CONFLICT (stream) DO UPDATE SET principal = ?4, kind = ?5 WHERE audit_stream.kind = 'unknown'", params![
            first.stream(),
            plain(&first.record().proxy),
            plain(&first.record().hop),
            sender.principal(),
            sender.kind(),
            sender.base(first.sequence()),
            clock()
        ])?;
    find_stream(connection, first.stream())?
        .ok_or_else(|| Failure::database("an audit stream is gone that was just written".to_owned()))
}

fn stored_leaf(connection: &Connection, stream: i64, sequence: i64) -> Result<[u8; 32], Failure> {
    Ok(connection.query_one(
        "SELECT leaf FROM audit_record WHERE stream_id = ?1 AND sequence = ?2",
        params![stream, sequence],
        |row| row.get(0),
    )?)
}
