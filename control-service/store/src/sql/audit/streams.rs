//! The streams that audit records come in, and what is counted of them.

use std::borrow::Cow;

use portcullis_control_domain::audit::{Parsed, RejectReason, Sender, Settled, Stream, Tenants};
use portcullis_control_domain::clock::now_ms;
use portcullis_sql::{Connection, params};

use super::super::failure::Failure;

/// Bytes of a text by which records are found.
const LONGEST: usize = 512;

/// A stream, and its place in the database.
pub(super) struct StoredStream {
    pub(super) id: i64,
    pub(super) stream: Stream,
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

/// A text of a record as a column: PostgreSQL keeps no zero byte in a text and no long text in an index, and a record
/// with such a text must not keep those behind it from being stored. The record itself is kept as it came.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let text = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The tenants of the sender's clusters, where they matter. A cluster that nobody registered has none.
pub(super) fn tenants(connection: &Connection, sender: &Sender) -> Result<Tenants, Failure> {
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
pub(super) fn load_stream(
    connection: &Connection,
    sender: &Sender,
    first: &Parsed,
) -> Result<StoredStream, Failure> {
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
