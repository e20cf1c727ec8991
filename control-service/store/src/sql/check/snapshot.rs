//! Whether the snapshot's entries are in order, and such that filters can read them.

use std::collections::BTreeMap;

use portcullis_control_domain::random::random;
use portcullis_control_snapshot::entries::{self, OfKind, is_secret};
use portcullis_model::state::SnapshotState;
use portcullis_protocol::snapshot::{public_key, sign_page, verify_page};
use portcullis_protocol::wire::RecordKind;
use portcullis_sql::{SqlError, params};

use super::super::failure::Failure;
use super::super::life::{Life, life};
use super::Check;

const PART: &str = "the snapshot";

/// An entry's place and length of life.
struct Entry {
    kind: i32,
    key: Vec<u8>,
    revision: u64,
    value: Option<Vec<u8>>,
}

impl Check<'_> {
    pub(super) fn snapshot(&mut self) -> Result<(), Failure> {
        let Life { generation, revision, floor } = life(self.connection)?;
        if generation == [0; 16] {
            self.fault(PART, "it has no generation: the store's life has not begun");
        }
        if floor > revision {
            self.fault(PART, &format!("what is forgotten goes up to {floor}, and revisions to {revision}"));
        }
        let sql = "SELECT kind, key, revision, value FROM snapshot_entry ORDER BY revision";
        let found = self.connection.query(sql, params![], |row| {
            Ok(Entry { kind: row.get(0)?, key: row.get(1)?, revision: row.get(2)?, value: row.get(3)? })
        })?;
        let mut readable: BTreeMap<i32, OfKind> = BTreeMap::new();
        for entry in found {
            let Entry { kind, key, revision: own, value } = entry;
            let name = || format!("entry {kind} {}", String::from_utf8_lossy(&key).escape_debug());
            if own == 0 || own > revision {
                self.fault(PART, &format!("{} has revision {own}; they go from 1 to {revision}", name()));
            }
            match RecordKind::try_from(kind) {
                Err(_) => self.fault(PART, &format!("{} is of a kind that nobody knows", name())),
                Ok(known) if is_secret(known) => {
                    if value.is_some_and(|digest| digest.len() != 32) {
                        self.fault(PART, &format!("{} holds no digest", name()));
                    }
                }
                Ok(_) => {
                    if let Some(value) = value {
                        readable.entry(kind).or_default().insert(key, value);
                    }
                }
            }
        }
        self.readable(readable)
    }

    /// By the code of the filters, which take a signed page alone.
    fn readable(&mut self, found: BTreeMap<i32, OfKind>) -> Result<(), Failure> {
        let of_kind = |(kind, entries)| Some((RecordKind::try_from(kind).ok()?, entries));
        let page = entries::page(found.into_iter().filter_map(of_kind).collect());
        let seed = random();
        let failed =
            |error: &dyn std::fmt::Display| Failure::database(format!("filters cannot read it: {error}"));
        let signed = sign_page(&page, seed);
        let page =
            verify_page(&signed, &public_key(seed), &page.nonce, &page.view).map_err(|e| failed(&e))?;
        let applied = SnapshotState::default().apply(page).map_err(|e| failed(&e))?;
        applied
            .unreadable
            .iter()
            .for_each(|entry| self.fault(PART, &["filters cannot read ", entry].concat()));
        Ok(())
    }

    /// The values of one kind by key, as they are stored.
    pub(super) fn stored(&self, kind: RecordKind) -> Result<OfKind, SqlError> {
        let sql = "SELECT key, value FROM snapshot_entry WHERE kind = ?1 AND value IS NOT NULL";
        let rows = self.connection.query(sql, params![kind as i32], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.into_iter().collect())
    }

    /// Tells of entries that are not what they follow from.
    pub(super) fn compare(
        &mut self,
        part: &'static str,
        kind: RecordKind,
        wanted: &OfKind,
    ) -> Result<(), Failure> {
        let found = self.stored(kind)?;
        for edit in entries::differences(kind, wanted, &found) {
            let what = match (found.contains_key(&edit.key), edit.value.is_some()) {
                (true, true) => "filters are told something else of",
                (false, _) => "filters are told nothing of",
                (true, false) => "filters are told of what is not there:",
            };
            let key = match kind {
                RecordKind::ApiKey => portcullis_protocol::audit::hex(&edit.key),
                _ => String::from_utf8_lossy(&edit.key).escape_debug().to_string(),
            };
            self.fault(part, &format!("{what} {key}"));
        }
        Ok(())
    }
}
