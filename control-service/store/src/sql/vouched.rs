//! Who vouches for tokens of the platform API, and what ends with them.

use std::collections::BTreeSet;

use portcullis_control_domain::caller::{Caller, Voucher};
use portcullis_control_domain::clock::now_ms;
use portcullis_sql::{Connection, Row, SqlError, params};

use super::failure::Failure;

/// Whether a token is good at the time `?2`, in seconds.
pub(super) const GOOD: &str = "revoked_at_ms IS NULL AND (expires_at_s IS NULL OR expires_at_s > ?2)";

/// By whose word a token is good.
pub(super) fn read(row: &Row<'_>, index: usize) -> Result<Option<Voucher>, SqlError> {
    let wrong = |_| SqlError::Column { index, wanted: "who vouches" };
    row.get::<Option<String>>(index)?.map(|text| serde_json::from_str(&text).map_err(wrong)).transpose()
}

/// Whether whoever makes a token still may call: what ended them since they were let in would not end what they make.
pub(super) fn still_good(connection: &Connection, by: &Caller, now_ms: u64) -> Result<bool, Failure> {
    if let Some(id) = by.token_id() {
        let sql = ["SELECT EXISTS (SELECT 1 FROM administrator WHERE id = ?1 AND ", GOOD, ")"].concat();
        if !connection.query_one(&sql, params![id, now_ms / 1000], |row| row.get(0))? {
            return Ok(false);
        }
    }
    let revoked = "SELECT EXISTS (SELECT 1 FROM revocation WHERE name = ?1)";
    for name in by.voucher.iter().flat_map(|voucher| &voucher.revoked_by) {
        if connection.query_one(revoked, params![name], |row| row.get(0))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Ends the tokens for which somebody vouches who is revoked by one of these names. For good: a revocation may end, and
/// what a stolen credential made must not come back with that. The last administrator is no exception: whoever has the
/// service's machine can make another.
pub(super) fn end_vouched(connection: &Connection, revoked: &BTreeSet<String>) -> Result<(), Failure> {
    let find = "SELECT id, voucher FROM administrator WHERE voucher IS NOT NULL AND revoked_at_ms IS NULL";
    let vouched = connection.query(find, params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (id, voucher) in vouched {
        let (id, voucher): (String, String) = (id, voucher);
        // Who vouches cannot be told: then nobody does.
        let ends = serde_json::from_str::<Voucher>(&voucher).map_or(true, |v| v.ends_with(revoked));
        if ends {
            let end = "UPDATE administrator SET revoked_at_ms = ?2 WHERE id = ?1";
            connection.execute(end, params![id, now_ms()])?;
        }
    }
    Ok(())
}
