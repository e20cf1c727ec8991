//! The tables of a store, on their way into a backup and out of it.

use portcullis_control_domain::backup::TableDigest;
use portcullis_sql::{Connection, SqlError};

use crate::sql::copy::copy_table;
use crate::sql::failure::Failure;
use crate::sql::tables::{self, Table};

/// All tables of a store; that of the manifest is none.
pub(super) fn stored(connection: &Connection) -> Result<Vec<Table>, Failure> {
    let mut tables = tables::all(connection)?;
    tables.retain(|table| table.name != "backup");
    Ok(tables)
}

/// What a table holds.
pub(super) fn digest(connection: &Connection, table: &Table) -> Result<TableDigest, SqlError> {
    let content = table.content(connection)?;
    Ok(TableDigest { name: table.name.clone(), rows: content.rows, sha256: content.sha256 })
}

/// Fills the tables of a database that has nothing in them but what its schema puts there, and reads them again. Both
/// databases have the same version of the schema.
pub(super) fn copy(from: &Connection, to: &Connection) -> Result<Vec<TableDigest>, Failure> {
    let targets = stored(to)?;
    let mut copied = Vec::new();
    for table in stored(from)? {
        if !targets.iter().any(|target| target.name == table.name && target.columns == table.columns) {
            return Err(Failure::database(format!(
                "table {} has other columns where it is copied to",
                table.name
            )));
        }
        copied.push(copy_table(from, to, &table)?);
    }
    Ok(copied)
}
