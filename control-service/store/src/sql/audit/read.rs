//! What can be asked of the audit log.

use std::ops::ControlFlow;
use std::sync::Arc;

use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::{
    AuditRow, AuditStatus, Erased, LogEntry, LogProof, Order, RecordQuery, StreamStatus,
};
use portcullis_control_domain::caller::Reach;
use portcullis_protocol::audit::{hex, unhex};
use portcullis_protocol::wire::AuditRecord;
use portcullis_sql::{Connection, Value, params};
use sha2::{Digest, Sha256};

use super::super::Store;
use super::super::failure::Failure;
use super::evidence::{Evidence, FROM, Opened};
use crate::StoreError;
use crate::subject_key::AuditKeys;

/// Gaps listed for a stream at most; all are counted.
const MAX_GAPS: usize = 20;
/// Streams listed at most: those with gaps first, then the newest. All are counted.
const MAX_STREAMS: usize = 500;
/// Rows that one query looks through at most, when it filters by what has no index.
const MAX_SCAN: u64 = 20_000;

/// When the oldest record was received, milliseconds since the Unix epoch; `None` where nothing tells.
pub(in crate::sql) fn oldest_ms(connection: &Connection) -> Result<Option<u64>, Failure> {
    let sql = "SELECT entry FROM audit_record ORDER BY position LIMIT 1";
    let oldest = connection.query_optional(sql, params![], |row| row.get::<Option<Vec<u8>>>(0))?;
    Ok(oldest.flatten().and_then(|entry| LogEntry::decode(&entry)).map(|entry| entry.received_ms))
}

impl Store {
    /// Records in the order that is asked for, and where to go on if there may be more.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn records(&self, query: RecordQuery) -> Result<(Vec<AuditRow>, Option<u64>), StoreError> {
        let keys = Arc::clone(self.recorder.keys());
        self.readers.run(move |connection| records(connection, &keys, &query)).await
    }

    /// A place in the log, for somebody of this reach to give back.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be encrypted.
    pub fn audit_cursor(&self, reach: &Reach, place: u64) -> Result<String, StoreError> {
        let hidden = self.recorder.keys().hide(reach.bounds().0.unwrap_or_default(), place);
        hidden
            .map(|hidden| hex(&hidden))
            .ok_or_else(|| StoreError::Database("a place in the audit log cannot be encrypted".to_owned()))
    }

    /// The place that [`Self::audit_cursor`] gave somebody of this reach; `None` of anything else.
    #[must_use]
    pub fn audit_place(&self, reach: &Reach, cursor: &str) -> Option<u64> {
        self.recorder.keys().place(reach.bounds().0.unwrap_or_default(), &unhex(cursor)?)
    }

    /// The newest index of the log; 0 while it is empty.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn newest_record(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(position), 0) FROM audit_record";
        self.readers.run(|connection| Ok(connection.query_one(sql, params![], |row| row.get(0))?)).await
    }

    /// What it takes to verify the record at an index of the log, for somebody who can touch so much.
    ///
    /// # Errors
    /// [`Refused::EntryUnknown`], or the database fails.
    pub async fn log_proof(&self, reach: Reach, index: u64) -> Result<LogProof, StoreError> {
        let keys = Arc::clone(self.recorder.keys());
        let find = move |connection: &Connection| {
            let sql = format!("{FROM} WHERE r.position = ?1");
            let index = index.min(i64::MAX.unsigned_abs());
            let found = connection.query_optional(&sql, params![index], Evidence::read)?;
            let found = found.ok_or(Refused::EntryUnknown)?;
            if !found.is_within(&reach)? {
                return Err(Refused::EntryUnknown.into());
            }
            found.proof(&keys)
        };
        self.readers.run(find).await
    }

    /// What is stored, and what is known to be missing.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn audit_status(&self) -> Result<AuditStatus, StoreError> {
        self.readers.run(status).await
    }
}

pub(super) fn records(
    connection: &Connection,
    keys: &AuditKeys,
    query: &RecordQuery,
) -> Result<(Vec<AuditRow>, Option<u64>), Failure> {
    let lookup = query.subject.as_deref().map(|subject| keys.lookup_name(subject));
    let whose = match &lookup {
        None => Whose::Anybody,
        Some(lookup) => match *known_as(connection, lookup)? {
            [] => return Ok((Vec::new(), None)),
            [only] => Whose::One(only),
            _ => Whose::Several(lookup),
        },
    };
    let request = query.request_id.as_deref().unwrap_or_default();
    let (sql, values) = statement(query, whose, (keys.request(request), plain_request(request)));
    let (mut found, mut scanned, mut last, mut more) = (Vec::new(), 0, query.after, false);
    connection.scan(&sql, &values, |row| {
        more = found.len() >= query.limit || scanned >= MAX_SCAN;
        if more {
            return Ok(ControlFlow::Break(()));
        }
        scanned += 1;
        let evidence = Evidence::read(row)?;
        last = evidence.index;
        found.extend(row_of(evidence, keys, query)?);
        Ok::<_, Failure>(ControlFlow::Continue(()))
    })?;
    Ok((found, more.then_some(last)))
}

/// Whose records are asked for.
pub(super) enum Whose<'a> {
    Anybody,
    /// One data subject's, by the id.
    One(i64),
    /// Those of all that have one name.
    Several(&'a [u8; 32]),
}

/// The query, as the database finds it by an index.
///
/// `requests`: by what the request is found, since it is hashed with a key, and before.
pub(super) fn statement<'v>(
    query: &'v RecordQuery,
    whose: Whose<'v>,
    requests: (Option<i64>, Option<i64>),
) -> (String, Vec<Value<'v>>) {
    let most = i64::MAX.unsigned_abs();
    let (after, before) = (query.after.min(most), query.before.unwrap_or(most).min(most));
    let mut sql = [FROM, " WHERE r.position > ?1 AND r.position < ?2"].concat();
    let mut values = vec![Value::Unsigned(after), Value::Unsigned(before)];
    let mut add = |condition: &str, value| {
        values.push(value);
        sql.push_str(&condition.replace('#', &values.len().to_string()));
    };
    for (condition, request) in [(" AND r.request IN (?#", requests.0), (", ?#)", requests.1)] {
        if query.request_id.is_some() {
            add(condition, request.map_or(Value::Null, Value::Integer));
        }
    }
    if let Some(cluster) = &query.cluster {
        add(" AND r.cluster = ?#", Value::Text(cluster));
    }
    match whose {
        Whose::Anybody => {}
        Whose::One(id) => add(" AND r.subject_id = ?#", Value::Integer(id)),
        Whose::Several(lookup) => {
            let several = " AND r.subject_id IN (SELECT id FROM audit_subject WHERE lookup = ?#)";
            add(several, Value::Bytes(lookup));
        }
    }
    // Of what the database finds by an index, one more than is wanted tells that there is more.
    let limit = u64::try_from(query.limit).unwrap_or(MAX_SCAN);
    let limit = if query.filters() { MAX_SCAN + 1 } else { limit.min(MAX_SCAN) + 1 };
    let order = match query.order {
        Order::Oldest => " ORDER BY r.position LIMIT ?#",
        Order::Newest => " ORDER BY r.position DESC LIMIT ?#",
    };
    add(order, Value::Unsigned(limit));
    (sql, values)
}

/// By what a request was found whose record an older version stored.
fn plain_request(id: &str) -> Option<i64> {
    Sha256::digest(id).first_chunk().map(|first| i64::from_be_bytes(*first))
}

/// The data subjects that have a name at some issuer, in some tenant.
fn known_as(connection: &Connection, lookup: &[u8; 32]) -> Result<Vec<i64>, Failure> {
    let sql = "SELECT id FROM audit_subject WHERE lookup = ?1 LIMIT 2";
    Ok(connection.query(sql, params![lookup], |row| row.get(0))?)
}

/// A record that is asked for, as far as it can be read.
fn row_of(evidence: Evidence, keys: &AuditKeys, query: &RecordQuery) -> Result<Option<AuditRow>, Failure> {
    let principal = match evidence.body()? {
        // An older version did not write it into the record.
        Some(body) if evidence.entry.is_some() => body.principal.to_owned(),
        _ => evidence.principal.clone(),
    };
    let (record, erased) = match evidence.open(keys, |record| query.fits(record))? {
        Some(Opened { record, .. }) if !query.is_of_request(&record) => return Ok(None),
        Some(Opened { record, erased }) => (record, erased.then_some(Erased::Subject)),
        None if evidence.is_erased() && query.is_open() => (AuditRecord::default(), Some(Erased::Record)),
        None => return Ok(None),
    };
    let leaf = evidence.leaf();
    Ok(Some(AuditRow { index: evidence.index, entry: evidence.entry, leaf, erased, principal, record }))
}

fn status(connection: &Connection) -> Result<AuditStatus, Failure> {
    let [rejected, gateways_rejected, sidecars_rejected]: [u64; 3] =
        connection.query_one("SELECT rejected, gateways, sidecars FROM audit_loss", params![], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?])
        })?;
    let (committed_from, erasures) =
        connection.query_one("SELECT committed_from, erasures FROM audit_log", params![], |row| {
            Ok((row.get(0)?, row.get(1)?))
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
                committed_from,
                erasures,
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
