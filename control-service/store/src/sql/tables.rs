//! All tables as they are, without a word of what they mean: for what copies or compares whole databases.

use portcullis_sql::{Backend, Cell, Connection, SqlError, params};
use sha2::{Digest, Sha256};

use super::failure::Failure;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    /// By name, so that both databases have them in one order.
    pub(super) columns: Vec<String>,
    /// Its primary key, by which its rows are ordered; and which of that is text.
    key: Vec<(String, bool)>,
    refers_to: Vec<String>,
}

/// How a database lists its tables.
struct Catalogue {
    tables: &'static str,
    /// Name, whether it is text, and its place in the primary key.
    columns: &'static str,
    refers_to: &'static str,
}

const SQLITE: Catalogue = Catalogue {
    tables: "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'",
    columns: "SELECT name, type = 'TEXT', pk FROM pragma_table_info(?1)",
    refers_to: "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(?1)",
};

/// Of tables that are not logged nothing is kept when the server falls: they hold what is not worth keeping.
const POSTGRES: Catalogue = Catalogue {
    tables: "SELECT CAST(relname AS TEXT) FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p' AND relnamespace =
        (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('schema_version'))",
    columns: "SELECT CAST(a.attname AS TEXT), a.atttypid = CAST('text' AS regtype),
            CAST(coalesce(array_position(CAST(i.indkey AS INT2[]), a.attnum) + 1, 0) AS BIGINT)
        FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
        WHERE a.attrelid = to_regclass(?1) AND a.attnum > 0 AND NOT a.attisdropped",
    refers_to: "SELECT DISTINCT CAST(f.relname AS TEXT) FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
        WHERE k.contype = 'f' AND k.conrelid = to_regclass(?1)",
};

/// Holds the version of the tables; SQLite keeps it elsewhere.
pub(super) const VERSION: &str = "schema_version";

/// All tables but that of the version; one that others refer to comes before them.
pub(super) fn all(connection: &Connection) -> Result<Vec<Table>, Failure> {
    let catalogue = match connection.backend() {
        Backend::Sqlite => &SQLITE,
        Backend::Postgres => &POSTGRES,
    };
    let mut names: Vec<String> = connection.query(catalogue.tables, params![], |row| row.get(0))?;
    names.sort_unstable();
    let mut left = Vec::new();
    for name in names.into_iter().filter(|name| name != VERSION) {
        left.push(table(connection, catalogue, name)?);
    }
    let mut ordered: Vec<Table> = Vec::new();
    while !left.is_empty() {
        let waits = |table: &Table| {
            let there = |name: &String| *name == table.name || ordered.iter().any(|o| o.name == *name);
            !table.refers_to.iter().all(there)
        };
        let (later, now): (Vec<_>, Vec<_>) = left.into_iter().partition(waits);
        if now.is_empty() {
            return Err(Failure::database("tables refer to each other in a circle"));
        }
        ordered.extend(now);
        left = later;
    }
    Ok(ordered)
}

fn table(connection: &Connection, catalogue: &Catalogue, name: String) -> Result<Table, Failure> {
    let mut columns: Vec<(String, bool, u64)> =
        connection
            .query(catalogue.columns, params![&name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let refers_to = connection.query(catalogue.refers_to, params![&name], |row| row.get(0))?;
    columns.sort_unstable_by_key(|(_, _, place)| *place);
    let key: Vec<_> = columns
        .iter()
        .filter(|(_, _, place)| *place > 0)
        .map(|(column, text, _)| (column.clone(), *text))
        .collect();
    if key.is_empty() {
        return Err(Failure::database(format!("the table {name} has no primary key")));
    }
    let mut columns: Vec<_> = columns.into_iter().map(|(column, _, _)| column).collect();
    columns.sort_unstable();
    Ok(Table { name, columns, key, refers_to })
}

impl Table {
    /// By the primary key, text by its bytes.
    fn order(&self, connection: &Connection) -> String {
        let by_bytes = match connection.backend() {
            Backend::Sqlite => " COLLATE BINARY",
            Backend::Postgres => " COLLATE \"C\"",
        };
        let parts = self
            .key
            .iter()
            .map(|(column, text)| [column.as_str(), if *text { by_bytes } else { "" }].concat());
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Looks at all of its rows, in the order of the primary key, and returns their digest.
    pub(super) fn each<E: From<SqlError>>(
        &self,
        connection: &Connection,
        mut look: impl FnMut(&[Cell]) -> Result<(), E>,
    ) -> Result<Content, E> {
        let (columns, order) = (self.columns.join(", "), self.order(connection));
        let sql = format!("SELECT {columns} FROM {} ORDER BY {order}", self.name);
        let (mut rows, mut hasher) = (0, Sha256::new());
        connection.each(&sql, params![], |row| {
            let cells =
                (0..self.columns.len()).map(|index| row.get(index)).collect::<Result<Vec<Cell>, _>>()?;
            rows += 1;
            cells.iter().for_each(|cell| digest(cell, &mut hasher));
            look(&cells)
        })?;
        Ok(Content { rows, sha256: hasher.finalize().into() })
    }

    /// What it holds.
    pub(super) fn content(&self, connection: &Connection) -> Result<Content, SqlError> {
        self.each(connection, |_| Ok(()))
    }

    /// True when it has no row.
    pub(super) fn is_empty(&self, connection: &Connection) -> Result<bool, SqlError> {
        let sql = format!("SELECT NOT EXISTS (SELECT 1 FROM {})", self.name);
        connection.query_one(&sql, params![], |row| row.get(0))
    }
}

/// What a table holds, the same in both databases: two tables with one content have the same rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) rows: u64,
    pub(super) sha256: [u8; 32],
}

/// Each value with its kind and its length, so that no two rows look alike that are not.
fn digest(cell: &Cell, hasher: &mut Sha256) {
    let mut long = |kind: u8, bytes: &[u8]| {
        hasher.update([kind]);
        hasher.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(bytes);
    };
    match cell {
        Cell::Null => hasher.update([0]),
        Cell::Integer(number) => {
            hasher.update([1]);
            hasher.update(number.to_be_bytes());
        }
        Cell::Text(text) => long(2, text.as_bytes()),
        Cell::Bytes(bytes) => long(3, bytes),
    }
}
