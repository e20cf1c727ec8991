//! What the database knows of restores: what such a store lacks, and how far it has got that back.

use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::recovery::Recovery;
use portcullis_sql::{Connection, params};

use super::failure::Failure;

/// The restore that has not come to its end, the newest one.
pub(super) fn under_way(connection: &Connection) -> Result<Option<Recovery>, Failure> {
    let sql = "SELECT restored_at_ms, generation, covered_until_ms, covered_revision, covered_index, exports,
        held_revision, held_since_ms FROM restoration WHERE ended_at_ms IS NULL ORDER BY id DESC LIMIT 1";
    Ok(connection.query_optional(sql, params![], |row| {
        Ok(Recovery {
            restored_at_ms: row.get(0)?,
            generation: row.get(1)?,
            covered_until_ms: row.get(2)?,
            covered_revision: row.get(3)?,
            covered_index: row.get(4)?,
            exports: row.get(5)?,
            held_revision: row.get(6)?,
            held_since_ms: row.get(7)?,
        })
    })?)
}

/// The index that the audit log may go on from at the earliest, if that is not the next one.
pub(super) fn audit_from(connection: &Connection) -> Result<u64, Failure> {
    let sql = "SELECT coalesce(max(audit_from), 0) FROM restoration";
    Ok(connection.query_one(sql, params![], |row| row.get(0))?)
}

pub(super) fn write(connection: &Connection, recovery: &Recovery) -> Result<(), Failure> {
    connection.execute(
        "UPDATE restoration SET covered_until_ms = ?1, covered_revision = ?2, covered_index = ?3, exports = ?4,
            held_revision = ?5, held_since_ms = ?6
            WHERE id = (SELECT max(id) FROM restoration WHERE ended_at_ms IS NULL)",
        params![
            recovery.covered_until_ms,
            recovery.covered_revision,
            recovery.covered_index,
            recovery.exports,
            recovery.held_revision,
            recovery.held_since_ms
        ],
    )?;
    Ok(())
}

pub(super) fn end(connection: &Connection, accepted_since_ms: Option<u64>) -> Result<(), Failure> {
    let sql = "UPDATE restoration SET ended_at_ms = ?1, accepted_since_ms = ?2 WHERE ended_at_ms IS NULL";
    connection.execute(sql, params![now_ms(), accepted_since_ms])?;
    Ok(())
}
