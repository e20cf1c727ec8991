//! What is stored of a record: what its entry commits to, and the key that opens it.

use portcullis_control_domain::audit::{LogBody, LogEntry, LogProof, Parsed, Parts, leaf_hash, say_the_same};
use portcullis_control_domain::caller::Reach;
use portcullis_protocol::wire::AuditRecord;
use portcullis_sql::{Connection, Row, SqlError, params};
use prost::Message;
use zeroize::Zeroizing;

use super::super::failure::Failure;
use crate::subject_key::{AuditKeys, open};

/// The tables in which a record is, and the columns that are read of them. They are joined so that the records are looked
/// through first.
pub(in crate::sql) const FROM: &str =
    "SELECT r.position, r.entry, r.leaf, r.salt, r.body, k.name, k.wrapped_key, s.principal
    FROM audit_record r LEFT JOIN audit_stream s ON s.id = r.stream_id
    LEFT JOIN audit_subject k ON k.id = r.subject_id";

/// A record as it is stored.
pub(in crate::sql) struct Evidence {
    pub(super) index: u64,
    pub(super) entry: Option<Vec<u8>>,
    leaf: Option<[u8; 32]>,
    /// Salt and body, unless they were deleted.
    content: Option<([u8; 32], Vec<u8>)>,
    /// The wrapped key of its data subject, unless that was deleted, and the name it is kept under.
    key: Option<([u8; 32], Vec<u8>)>,
    /// To whom its stream belongs.
    pub(super) principal: String,
}

/// A body that was opened as far as it can be.
pub(super) struct Opened {
    pub(super) record: AuditRecord,
    /// Whether something of it is closed for good.
    pub(super) erased: bool,
}

impl Evidence {
    pub(in crate::sql) fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let pair = |first, second| -> Result<Option<(_, _)>, SqlError> {
            match row.get::<Option<Vec<u8>>>(first)? {
                Some(_) => Ok(Some((row.get(first)?, row.get(second)?))),
                None => Ok(None),
            }
        };
        let leaf: Option<Vec<u8>> = row.get(2)?;
        Ok(Self {
            index: row.get(0)?,
            entry: row.get(1)?,
            leaf: leaf.map(|_| row.get(2)).transpose()?,
            content: pair(3, 4)?,
            key: pair(5, 6)?,
            principal: row.get(7)?,
        })
    }

    /// The record with this number.
    pub(super) fn of(connection: &Connection, stream_id: i64, sequence: i64) -> Result<Self, Failure> {
        let sql = format!("{FROM} WHERE r.stream_id = ?1 AND r.sequence = ?2");
        Ok(connection.query_one(&sql, params![stream_id, sequence], Self::read)?)
    }

    pub(super) fn leaf(&self) -> [u8; 32] {
        self.leaf.unwrap_or_else(|| leaf_hash(self.entry.as_deref().unwrap_or_default()))
    }

    /// Whether nothing but the log's entry is left of it.
    pub(super) fn is_erased(&self) -> bool {
        self.content.is_none()
    }

    fn unreadable(&self) -> Failure {
        Failure::database(format!("audit record {} is not readable", self.index))
    }

    /// The body; `None` of a record that was erased.
    pub(super) fn body(&self) -> Result<Option<LogBody<'_>>, Failure> {
        let Some((_, body)) = &self.content else { return Ok(None) };
        LogBody::decode(body).map(Some).ok_or_else(|| self.unreadable())
    }

    /// Whether somebody of this reach may know of it. Of what was erased nobody can tell any more whose it was.
    pub(super) fn is_within(&self, reach: &Reach) -> Result<bool, Failure> {
        if *reach == Reach::Platform {
            return Ok(true);
        }
        let Some(body) = self.body()? else { return Ok(false) };
        let record = AuditRecord::decode(body.open).map_err(|_| self.unreadable())?;
        Ok(reach.has_tenant(&record.tenant))
    }

    /// The key of this record alone, where it is encrypted and that of its data subject is there.
    fn record_key(&self, keys: &AuditKeys) -> Result<Option<Zeroizing<[u8; 32]>>, Failure> {
        let (Some((salt, _)), Some((name, wrapped))) = (&self.content, &self.key) else { return Ok(None) };
        let key = keys.unwrap(name, wrapped).ok_or_else(|| self.unreadable())?;
        Ok(Some(key.of_record(salt)))
    }

    /// What it takes to verify it.
    pub(super) fn proof(self, keys: &AuditKeys) -> Result<LogProof, Failure> {
        let (leaf, record_key) = (self.leaf(), self.record_key(keys)?);
        let Self { index, entry, content, .. } = self;
        Ok(LogProof { index, entry, leaf, content, record_key })
    }

    /// What was encrypted of it, where that opens.
    fn personal(&self, keys: &AuditKeys, body: &LogBody<'_>) -> Result<Option<Vec<u8>>, Failure> {
        if body.sealed.is_empty() {
            return Ok(None);
        }
        let Some(key) = self.record_key(keys)? else { return Ok(None) };
        open(&key, body.sealed).map(Some).ok_or_else(|| self.unreadable())
    }

    /// Opens what `wanted` says yes to by what is in clear; `None` of all others.
    pub(super) fn open(
        &self,
        keys: &AuditKeys,
        wanted: impl Fn(&AuditRecord) -> bool,
    ) -> Result<Option<Opened>, Failure> {
        let Some(body) = self.body()? else { return Ok(None) };
        let mut record = AuditRecord::decode(body.open).map_err(|_| self.unreadable())?;
        if !wanted(&record) {
            return Ok(None);
        }
        let personal = self.personal(keys, &body)?;
        let erased = personal.is_none() && !body.sealed.is_empty();
        if let Some(personal) = personal {
            record.merge(personal.as_slice()).map_err(|_| self.unreadable())?;
        }
        Ok(Some(Opened { record, erased }))
    }

    /// What does not fit together of it, if anything.
    pub(in crate::sql) fn fault(&self, keys: &AuditKeys) -> Option<&'static str> {
        if let Some(entry) = &self.entry {
            let Some(entry) = LogEntry::decode(entry) else {
                return Some("has an entry that cannot be read");
            };
            if entry.index != self.index {
                return Some("has the entry of another one");
            }
            if self.content.as_ref().is_some_and(|(salt, body)| !entry.commits_to(salt, body)) {
                return Some("is not the one that its entry was made for");
            }
        }
        let Ok(body) = self.body() else { return Some("cannot be read") };
        if self.open(keys, |_| true).is_err() {
            return Some("cannot be read");
        }
        // What was stored before there were entries is encrypted as a whole.
        let whole = body.and_then(|body| self.personal(keys, &body).ok().flatten());
        match (self.leaf, whole) {
            (Some(leaf), Some(whole)) if leaf != leaf_hash(&whole) => Some("is not the one that was hashed"),
            _ => None,
        }
    }

    /// Whether a record that came again says something else. What was erased cannot be compared any more.
    pub(super) fn differs(&self, keys: &AuditKeys, again: &Parsed) -> Result<bool, Failure> {
        if let Some(leaf) = self.leaf {
            return Ok(leaf != leaf_hash(again.bytes()));
        }
        let Some(body) = self.body()? else { return Ok(false) };
        // What is taken for personal may have been another when it was stored.
        Ok(match self.personal(keys, &body)? {
            Some(personal) => !say_the_same(&[body.open, &personal].concat(), again.bytes()),
            None if body.sealed.is_empty() => !say_the_same(body.open, again.bytes()),
            None => Parts::of(body.open).ok_or_else(|| self.unreadable())?.open != again.parts().open,
        })
    }
}
