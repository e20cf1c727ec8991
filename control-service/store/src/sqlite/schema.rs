//! The tables, and how a database of an older version becomes one of this.

use rusqlite::Connection;

use super::failure::Failure;
use crate::StoreError;

/// Each step takes the schema from the version of its position to the next. Steps are never edited.
const STEPS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
];

/// Brings the schema up to date.
///
/// # Errors
/// [`StoreError`] when the database is of a newer version, or a step fails; nothing is changed then.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > STEPS.len() {
        return Err(StoreError::Newer { found: version, known: STEPS.len() }.into());
    }
    for step in STEPS.iter().skip(version) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", STEPS.len())?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_before_keep_what_they_had_and_belong_to_nobody_yet() {
        let mut connection = Connection::open_in_memory().unwrap();
        for step in &STEPS[..3] {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", 3).unwrap();
        let add = "INSERT INTO audit_stream (stream, proxy, hop, stored, highest, duplicates, conflicts)
            VALUES (?1, ?2, ?3, 5, 7, 0, 0)";
        connection.execute(add, rusqlite::params![[1_u8; 16], "control-service", "control"]).unwrap();
        connection.execute(add, rusqlite::params![[2_u8; 16], "router~1", "gateway"]).unwrap();
        migrate(&mut connection).unwrap();
        let rows: Vec<(String, String, i64, bool)> = connection
            .prepare("SELECT kind, principal, base, began_at_ms > 1e12 FROM audit_stream ORDER BY id")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let row = |kind: &str| (kind.to_owned(), String::new(), 7, true);
        assert_eq!(rows, [row("control"), row("unknown")]);
    }
}
