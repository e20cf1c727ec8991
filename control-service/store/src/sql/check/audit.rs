//! Whether the audit log is whole.

use portcullis_protocol::audit::hex;
use portcullis_sql::params;

use super::super::audit::{AUDIT_KEYS, Evidence, FROM};
use super::super::failure::Failure;
use super::super::sealed;
use super::Check;
use crate::seal::SealingKey;
use crate::subject_key::AuditKeys;

impl Check<'_> {
    /// Each index is there, and each record is the one that its entry was made for, and can be read unless it was erased.
    pub(super) fn audit_log(&mut self, key: &SealingKey) -> Result<(), Failure> {
        const PART: &str = "the audit log";
        let connection = self.connection;
        let secret = sealed::load(connection, key, AUDIT_KEYS)?;
        let keys =
            AuditKeys::of(&*secret.ok_or_else(|| Failure::database("the secret audit_keys is missing"))?);
        self.data_subjects(&keys)?;
        // After a restore the log goes on behind all that may have been given out before.
        let sql = "SELECT audit_from + 1 FROM restoration";
        let leaps: Vec<u64> = connection.query(sql, params![], |row| row.get(0))?;
        let (sql, mut last) = ([FROM, " ORDER BY r.position"].concat(), 0_u64);
        connection.each(&sql, params![], |row| {
            let position: u64 = row.get(0)?;
            if position != last + 1 && !leaps.contains(&position) {
                self.fault(
                    PART,
                    &format!("there is nothing from {} to {}", last + 1, position.saturating_sub(1)),
                );
            }
            last = position;
            let fault = match Evidence::read(row) {
                Ok(evidence) => evidence.fault(&keys),
                Err(_) => Some("belongs to no stream, or has another form"),
            };
            if let Some(fault) = fault {
                self.fault(PART, &format!("record {position} {fault}"));
            }
            Ok::<_, Failure>(())
        })
    }

    fn data_subjects(&mut self, keys: &AuditKeys) -> Result<(), Failure> {
        let connection = self.connection;
        connection.each("SELECT id, name, wrapped_key FROM audit_subject", params![], |row| {
            let (id, name, wrapped): (i64, [u8; 32], Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if keys.unwrap(&name, &wrapped).is_none() {
                self.fault("the audit log", &format!("the key of data subject {id} does not open"));
            }
            Ok::<_, Failure>(())
        })
    }

    /// Streams count what is there.
    pub(super) fn audit_streams(&mut self) -> Result<(), Failure> {
        const PART: &str = "audit streams";
        let sql = "SELECT s.stream, s.stored, s.highest, count(r.sequence), coalesce(max(r.sequence), 0)
            FROM audit_stream s LEFT JOIN audit_record r ON r.stream_id = s.id
            GROUP BY s.id, s.stream, s.stored, s.highest ORDER BY s.id";
        let connection = self.connection;
        connection.each(sql, params![], |row| {
            let stream: Vec<u8> = row.get(0)?;
            let [stored, highest, there, last]: [i64; 4] =
                [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
            if stored != there {
                self.fault(PART, &format!("{} has {there} records, and counts {stored}", hex(&stream)));
            }
            if last > highest {
                self.fault(PART, &format!("{} has number {last}, above its highest {highest}", hex(&stream)));
            }
            Ok::<_, Failure>(())
        })
    }
}
