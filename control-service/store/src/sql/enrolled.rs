//! What ends of that by which clusters are known: join tokens and certificates.

use portcullis_identity::ids::ClusterId;
use portcullis_sql::{Connection, params};

use super::failure::Failure;

/// Revokes what certificates of a cluster are good, or the one of a serial number; returns their serial numbers.
pub(super) fn revoke_certificates(
    connection: &Connection,
    cluster: &ClusterId,
    serial: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let now_ms = connection.now_ms()?;
    Ok(connection.query(
        "UPDATE certificate SET revoked_at_ms = ?2 WHERE cluster = ?1 AND revoked_at_ms IS NULL
            AND (CAST(?3 AS TEXT) IS NULL OR serial = ?3) RETURNING serial",
        params![cluster.as_str(), now_ms, serial],
        |row| row.get(0),
    )?)
}

/// Revokes all tokens of a cluster that wait for their use.
pub(super) fn revoke_tokens_of(connection: &Connection, cluster: &ClusterId) -> Result<(), Failure> {
    let now_ms = connection.now_ms()?;
    connection.execute(
        "UPDATE join_token SET revoked_at_ms = ?2
            WHERE cluster = ?1 AND revoked_at_ms IS NULL AND used_at_ms IS NULL",
        params![cluster.as_str(), now_ms],
    )?;
    Ok(())
}

/// Revokes all tokens of all clusters that wait for their use, as far as is known here.
pub(super) fn revoke_tokens(connection: &Connection) -> Result<(), Failure> {
    let now_ms = connection.now_ms()?;
    connection.execute(
        "UPDATE join_token SET revoked_at_ms = ?1 WHERE revoked_at_ms IS NULL AND used_at_ms IS NULL",
        params![now_ms],
    )?;
    Ok(())
}
