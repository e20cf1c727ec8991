//! What can be asked of the audit log.

use portcullis_control_domain::audit::{AuditRow, AuditStatus, RecordQuery, StreamStatus};
use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::AuditRecord;
use prost::Message;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::super::failure::Failure;
use super::Store;
use crate::StoreError;

/// Gaps listed for a stream at most; all are counted.
const MAX_GAPS: usize = 20;
/// Streams listed at most: those with gaps first, then the newest. All are counted.
const MAX_STREAMS: usize = 500;
/// Rows that one query looks through at most, when it filters by what has no index.
const MAX_SCAN: usize = 20_000;

impl Store {
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

fn records(connection: &Connection, query: &RecordQuery) -> Result<(Vec<AuditRow>, Option<u64>), Failure> {
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
            .map_err(|e| Failure::database(format!("audit record {last} is not readable: {e}")))?;
        if query.fits(&record) {
            let principal = sender.query_row([row.get::<_, i64>(3)?], |row| row.get(0))?;
            found.push(AuditRow { index: last, leaf: row.get(1)?, principal, record });
        }
    }
    Ok((found, None))
}

fn status(connection: &Connection) -> Result<AuditStatus, Failure> {
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

fn gaps(connection: &Connection, stream: i64) -> Result<Vec<[u64; 2]>, Failure> {
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
