//! Whether the audit log is whole.

use portcullis_control_domain::audit::Parsed;
use portcullis_protocol::audit::hex;
use portcullis_sql::params;

use super::super::failure::Failure;
use super::Check;

impl Check<'_> {
    /// Each index is there, and each record is the one whose hash stands beside it.
    pub(super) fn audit_log(&mut self) -> Result<(), Failure> {
        const PART: &str = "the audit log";
        let sql = "SELECT r.position, r.leaf, r.bytes, r.sequence, s.stream
            FROM audit_record r LEFT JOIN audit_stream s ON s.id = r.stream_id ORDER BY r.position";
        let (connection, mut last) = (self.connection, 0_u64);
        connection.each(sql, params![], |row| {
            let position: u64 = row.get(0)?;
            if position != last + 1 {
                self.fault(
                    PART,
                    &format!("there is nothing from {} to {}", last + 1, position.saturating_sub(1)),
                );
            }
            last = position;
            let (leaf, sequence): ([u8; 32], i64) = (row.get(1)?, row.get(3)?);
            match (Parsed::new(row.get(2)?), row.get::<Option<Vec<u8>>>(4)?) {
                (None, _) => self.fault(PART, &format!("record {position} cannot be read")),
                (_, None) => self.fault(PART, &format!("record {position} belongs to no stream")),
                (Some(parsed), _) if *parsed.leaf() != leaf => {
                    self.fault(PART, &format!("record {position} is not the one that was hashed"));
                }
                (Some(parsed), Some(stream))
                    if parsed.stream() != *stream || parsed.sequence() != sequence =>
                {
                    self.fault(PART, &format!("record {position} stands at the place of another one"));
                }
                _ => {}
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
