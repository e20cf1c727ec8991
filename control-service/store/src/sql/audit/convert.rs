//! Records of before there were entries: each is encrypted as a whole, once, and keeps the leaf hash that it had.

use std::borrow::Cow;

use portcullis_control_domain::audit::{DataSubject, LogBody, Parsed};
use portcullis_control_domain::random::random;
use portcullis_sql::{Connection, params};

use super::super::failure::Failure;
use super::super::schema::has_table;
use super::append::{NewRecord, write};
use super::recorder::{Recorder, Subjects};
use super::streams::plain;
use crate::subject_key::AuditKeys;

/// Records converted in one transaction; what is converted stays so when the program is ended meanwhile.
const PART: u64 = 1000;
/// How often the log tells how far it has come.
const TELL_EVERY: u64 = 100 * PART;

/// Records as they were stored.
const BEFORE: &str = "audit_record_before";

/// Whether nothing is left of what an older version stored.
pub(in crate::sql) fn is_converted(connection: &Connection) -> Result<bool, Failure> {
    Ok(!has_table(connection, BEFORE)?)
}

/// Converts what an older version stored, if there is anything left of it.
pub(in crate::sql) fn convert(connection: &Connection, recorder: &Recorder) -> Result<(), Failure> {
    if !has_table(connection, BEFORE)? {
        return Ok(());
    }
    let mut converted = 0;
    while let Some(part) =
        connection.exclusively(|_| convert_part(connection, recorder)).inspect_err(|_| recorder.forget())?
    {
        converted += part;
        if converted % TELL_EVERY == 0 {
            tracing::info!(converted, "converting the audit log");
        }
    }
    // The log beside a file still has pages as they were before.
    connection.settle()?;
    if converted > 0 {
        tracing::info!(converted, "the audit log is converted");
    }
    Ok(())
}

/// Converts the first records that are left; `None` when none was.
fn convert_part(connection: &Connection, recorder: &Recorder) -> Result<Option<u64>, Failure> {
    // Another process may have been at it, and done.
    if !has_table(connection, BEFORE)? {
        return Ok(None);
    }
    let sql = "SELECT b.position, b.stream_id, b.sequence, b.bytes, b.leaf, s.principal
        FROM audit_record_before b LEFT JOIN audit_stream s ON s.id = b.stream_id
        WHERE b.position > (SELECT coalesce(max(position), 0) FROM audit_record) ORDER BY b.position LIMIT ?1";
    let found = connection.query(sql, params![PART], |row| {
        Ok(Before {
            position: row.get(0)?,
            stream_id: row.get(1)?,
            sequence: row.get(2)?,
            bytes: row.get(3)?,
            leaf: row.get(4)?,
            principal: row.get(5)?,
        })
    })?;
    let Some(last) = found.last().map(|before| before.position) else {
        connection.batch("DROP TABLE audit_record_before")?;
        return Ok(None);
    };
    let subjects = recorder.subjects(connection)?;
    let rows: Vec<_> = found
        .into_iter()
        .map(|before| before.converted(&subjects, recorder.keys()))
        .collect::<Result<_, _>>()?;
    write(connection, &rows)?;
    // So that the file does not grow to twice its size.
    connection.execute("DELETE FROM audit_record_before WHERE position <= ?1", params![last])?;
    Ok(Some(rows.len().try_into().unwrap_or(u64::MAX)))
}

struct Before {
    position: u64,
    stream_id: i64,
    sequence: i64,
    bytes: Vec<u8>,
    leaf: [u8; 32],
    principal: String,
}

impl Before {
    /// What is encrypted is all of the record, since its leaf hash is of all of it.
    fn converted(self, subjects: &Subjects<'_>, keys: &AuditKeys) -> Result<NewRecord<'static>, Failure> {
        let unreadable = || Failure::database(format!("audit record {} is not readable", self.position));
        let parsed = Parsed::new(self.bytes).ok_or_else(unreadable)?;
        let (parts, record, salt) = (parsed.parts(), parsed.record(), random());
        let about = DataSubject::of(record, record.time_ms);
        let whole = if parts.personal.is_empty() { &[][..] } else { parsed.bytes() };
        let held = (!whole.is_empty()).then(|| subjects.key(&about)).transpose()?;
        let sealed = held.as_ref().map(|held| held.seal(&salt, whole)).transpose()?.unwrap_or_default();
        let body = LogBody { principal: &self.principal, open: &parts.open, sealed: &sealed };
        let cluster = plain(&record.cluster);
        Ok(NewRecord {
            position: self.position,
            stream_id: self.stream_id,
            sequence: self.sequence,
            entry: None,
            leaf: Some(self.leaf),
            request: keys.request(&record.request_id),
            cluster: (!cluster.is_empty()).then(|| Cow::Owned(cluster.into_owned())),
            subject_id: held.map(|held| held.id),
            salt,
            body: Cow::Owned(body.encode().ok_or_else(unreadable)?),
        })
    }
}
