//! What can be asked of the audit log.

use std::ops::ControlFlow;

use portcullis_control_domain::audit::{AuditRow, AuditStatus, RecordQuery, StreamStatus};
use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::AuditRecord;
use portcullis_sql::{Connection, Value, params};
use prost::Message;

use super::super::failure::Failure;
use super::Store;
use crate::StoreError;

/// Gaps listed for a stream at most; all are counted.
const MAX_GAPS: usize = 20;
/// Streams listed at most: those with gaps first, then the newest. All are counted.
const MAX_STREAMS: usize = 500;
/// Rows that one query looks through at most, when it filters by what has no index.
const MAX_SCAN: u64 = 20_000;

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
    let mut sql = "SELECT r.position, r.leaf, r.bytes, s.principal
        FROM audit_record r JOIN audit_stream s ON s.id = r.stream_id WHERE r.position > ?1"
        .to_owned();
    let mut values = vec![Value::Unsigned(query.after.min(i64::MAX.unsigned_abs()))];
    let indexed =
        [("request_id", &query.request_id), ("subject", &query.subject), ("cluster", &query.cluster)];
    for (column, wanted) in indexed {
        if let Some(text) = wanted {
            values.push(Value::Text(text));
            // `<> ''` repeats the condition of the partial indexes, without which they are not used.
            sql.push_str(&format!(" AND r.{column} = ?{} AND r.{column} <> ''", values.len()));
        }
    }
    // Of what the database finds by an index, one more than is wanted tells that there is more.
    let limit = u64::try_from(query.limit).unwrap_or(MAX_SCAN);
    values.push(Value::Unsigned(if query.filters() { MAX_SCAN + 1 } else { limit.min(MAX_SCAN) + 1 }));
    sql.push_str(&format!(" ORDER BY r.position LIMIT ?{}", values.len()));
    let (mut found, mut scanned, mut last, mut more) = (Vec::new(), 0, query.after, false);
    connection.scan(&sql, &values, |row| {
        more = found.len() >= query.limit || scanned >= MAX_SCAN;
        if more {
            return Ok(ControlFlow::Break(()));
        }
        scanned += 1;
        last = row.get(0)?;
        let bytes: Vec<u8> = row.get(2)?;
        let record = AuditRecord::decode(bytes.as_slice())
            .map_err(|e| Failure::database(format!("audit record {last} is not readable: {e}")))?;
        if query.fits(&record) {
            found.push(AuditRow { index: last, leaf: row.get(1)?, principal: row.get(3)?, record });
        }
        Ok::<_, Failure>(ControlFlow::Continue(()))
    })?;
    Ok((found, more.then_some(last)))
}

fn status(connection: &Connection) -> Result<AuditStatus, Failure> {
    let [rejected, gateways_rejected, sidecars_rejected]: [u64; 3] =
        connection.query_one("SELECT rejected, gateways, sidecars FROM audit_loss", params![], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?])
        })?;
    let mut status = connection
        .query_one("SELECT CAST(coalesce(sum(stored), 0) AS BIGINT), CAST(coalesce(sum(highest - stored), 0) AS BIGINT),
                CAST(coalesce(sum(duplicates), 0) AS BIGINT), CAST(coalesce(sum(conflicts), 0) AS BIGINT),
                CAST(coalesce(sum(highest - stored) FILTER (WHERE kind = 'gateway'), 0) AS BIGINT),
                CAST(coalesce(sum(highest - stored) FILTER (WHERE kind = 'sidecar'), 0) AS BIGINT) FROM audit_stream", params![], |row| {
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
    let sql = "SELECT id, stream, proxy, hop, stored, highest, duplicates, conflicts, principal, kind
        FROM audit_stream ORDER BY highest > stored DESC, id DESC LIMIT ?1";
    let streams = connection.query(sql, params![MAX_STREAMS], |row| {
        let (stored, highest): (u64, u64) = (row.get(4)?, row.get(5)?);
        let status = StreamStatus {
            stream: hex(&row.get::<[u8; 16]>(1)?),
            proxy: row.get(2)?,
            hop: row.get(3)?,
            stored,
            highest,
            missing: highest.saturating_sub(stored),
            duplicates: row.get(6)?,
            conflicts: row.get(7)?,
            principal: row.get(8)?,
            kind: row.get(9)?,
            gaps: Vec::new(),
        };
        Ok((row.get::<i64>(0)?, status))
    })?;
    for (id, mut stream) in streams {
        if stream.missing > 0 {
            stream.gaps = gaps(connection, id)?;
        }
        status.streams.push(stream);
    }
    Ok(status)
}

fn gaps(connection: &Connection, stream: i64) -> Result<Vec<[u64; 2]>, Failure> {
    let sql = "SELECT previous + 1, sequence - 1 FROM
            (SELECT sequence, lag(sequence, 1, 0) OVER (ORDER BY sequence) AS previous FROM
                (SELECT sequence FROM audit_record WHERE stream_id = ?1
                 UNION ALL SELECT highest + 1 FROM audit_stream WHERE id = ?1) AS number) AS pair
         WHERE sequence > previous + 1 ORDER BY sequence LIMIT ?2";
    Ok(connection.query(sql, params![stream, MAX_GAPS], |row| Ok([row.get(0)?, row.get(1)?]))?)
}
