//! The tables, and how a database of an older version becomes one of this.

use std::cmp::Ordering;

use portcullis_sql::{Backend, Connection, SqlError, params};

use super::failure::Failure;
use crate::StoreError;

/// Each step takes the schema from the version before it to its own. Steps are never edited.
type Steps = &'static [(usize, &'static str)];

const SQLITE: Steps = &[
    (1, include_str!("schema/sqlite/1.sql")),
    (2, include_str!("schema/sqlite/2.sql")),
    (3, include_str!("schema/sqlite/3.sql")),
    (4, include_str!("schema/sqlite/4.sql")),
    (5, include_str!("schema/sqlite/5.sql")),
    (6, include_str!("schema/sqlite/6.sql")),
    (7, include_str!("schema/sqlite/7.sql")),
    (8, include_str!("schema/sqlite/8.sql")),
    (9, include_str!("schema/sqlite/9.sql")),
    (10, include_str!("schema/sqlite/10.sql")),
    (11, include_str!("schema/sqlite/11.sql")),
    (12, include_str!("schema/sqlite/12.sql")),
    (13, include_str!("schema/sqlite/13.sql")),
    (14, include_str!("schema/sqlite/14.sql")),
    (15, include_str!("schema/sqlite/15.sql")),
    (16, include_str!("schema/sqlite/16.sql")),
];

/// A version means the same in both databases. PostgreSQL came with the fourth.
const POSTGRES: Steps = &[
    (4, include_str!("schema/postgres/4.sql")),
    (5, include_str!("schema/postgres/5.sql")),
    (6, include_str!("schema/postgres/6.sql")),
    (7, include_str!("schema/postgres/7.sql")),
    (8, include_str!("schema/postgres/8.sql")),
    (9, include_str!("schema/postgres/9.sql")),
    (10, include_str!("schema/postgres/10.sql")),
    (11, include_str!("schema/postgres/11.sql")),
    (12, include_str!("schema/postgres/12.sql")),
    (13, include_str!("schema/postgres/13.sql")),
    (14, include_str!("schema/postgres/14.sql")),
    (15, include_str!("schema/postgres/15.sql")),
    (16, include_str!("schema/postgres/16.sql")),
];

fn steps(connection: &Connection) -> Steps {
    match connection.backend() {
        Backend::Sqlite => SQLITE,
        Backend::Postgres => POSTGRES,
    }
}

/// From which version a schema was brought to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// Before; 0 where there were no tables.
    pub from: usize,
    /// Since.
    pub to: usize,
}

fn newest(steps: Steps) -> usize {
    steps.last().map_or(0, |(version, _)| *version)
}

/// Brings the schema up to date. Nobody may serve the database meanwhile.
///
/// # Errors
/// [`StoreError::Newer`], or a step fails; nothing is changed then.
pub(super) fn migrate(connection: &Connection) -> Result<Migrated, Failure> {
    connection.exclusively(|_| migrate_within(connection))
}

/// The same in a transaction that was begun already.
pub(super) fn migrate_within(connection: &Connection) -> Result<Migrated, Failure> {
    let steps = steps(connection);
    let (from, to) = (version(connection)?, newest(steps));
    if from > to {
        return Err(StoreError::Newer { found: from, known: to }.into());
    }
    if from == to {
        // A user who may only read would serve, and fail with the first change.
        set_version(connection, to)?;
    }
    for (version, step) in steps.iter().filter(|(version, _)| *version > from) {
        connection.batch(step)?;
        set_version(connection, *version)?;
    }
    Ok(Migrated { from, to })
}

/// Makes the tables of a database that has none. One of another version is left alone: somebody may be serving it.
///
/// # Errors
/// As of [`expect_current`], or the database fails.
pub(super) fn make(connection: &Connection) -> Result<(), Failure> {
    connection.exclusively(|_| {
        if !is_empty(connection)? {
            expect_current(connection)?;
        }
        migrate_within(connection).map(drop)
    })
}

/// Makes the tables of a version in an empty database, in the transaction that was begun.
pub(super) fn make_version(connection: &Connection, wanted: usize) -> Result<(), Failure> {
    for (version, step) in steps(connection).iter().filter(|(version, _)| *version <= wanted) {
        connection.batch(step)?;
        set_version(connection, *version)?;
    }
    Ok(())
}

/// The version of the tables that are there, 0 when there are none.
///
/// # Errors
/// [`StoreError::Newer`] when this program does not know it.
pub(super) fn known_version(connection: &Connection) -> Result<usize, Failure> {
    let (found, known) = (version(connection)?, newest(steps(connection)));
    if found > known { Err(StoreError::Newer { found, known }.into()) } else { Ok(found) }
}

/// True of tables of an older version.
pub(super) fn is_old(connection: &Connection) -> Result<bool, Failure> {
    Ok((1..newest(steps(connection))).contains(&version(connection)?))
}

/// Whether the tables are those that this program knows.
///
/// # Errors
/// [`StoreError::Newer`] or [`StoreError::Older`].
pub(super) fn expect_current(connection: &Connection) -> Result<(), Failure> {
    let (found, known) = (version(connection)?, newest(steps(connection)));
    match found.cmp(&known) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(StoreError::Newer { found, known }.into()),
        Ordering::Less => Err(StoreError::Older { found, known }.into()),
    }
}

/// True of a database without tables.
pub(super) fn is_empty(connection: &Connection) -> Result<bool, Failure> {
    Ok(version(connection)? == 0)
}

/// The version of the tables that are there; 0 when there are none.
fn version(connection: &Connection) -> Result<usize, SqlError> {
    let read = |sql: &str| connection.query_one(sql, params![], |row| row.get(0));
    match connection.backend() {
        Backend::Sqlite => read("PRAGMA user_version"),
        Backend::Postgres if has_table(connection, "schema_version")? => {
            read("SELECT version FROM schema_version")
        }
        Backend::Postgres => Ok(0),
    }
}

/// Whether there is a table of this name.
pub(super) fn has_table(connection: &Connection, name: &str) -> Result<bool, SqlError> {
    let sql = match connection.backend() {
        Backend::Sqlite => "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        // The catalog itself: what a session remembers of a name does not hear of another session's change before its
        // transaction has locked a table, and one that waited for its turn has not.
        Backend::Postgres => {
            "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class
                WHERE relname = CAST(?1 AS TEXT) AND relkind = 'r' AND pg_catalog.pg_table_is_visible(oid))"
        }
    };
    connection.query_one(sql, params![name], |row| row.get(0))
}

fn set_version(connection: &Connection, version: usize) -> Result<(), SqlError> {
    match connection.backend() {
        Backend::Sqlite => connection.batch(&format!("PRAGMA user_version = {version}")),
        Backend::Postgres => {
            connection.execute("UPDATE schema_version SET version = ?1", params![version]).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_control_domain::hold::Holds;
    use portcullis_mesh::paths;
    use portcullis_mesh::postgres::Postgres;
    use portcullis_sql::Server;

    use super::*;

    #[tokio::test]
    async fn a_table_that_went_while_its_turn_was_waited_for_is_not_there() {
        let server = Postgres::start(&paths::target().join("postgres/went")).await.unwrap();
        let url = server.database("went").await.unwrap();
        let task = tokio::task::spawn_blocking(move || {
            let connect = || Server::parse(&url).unwrap().connect().unwrap();
            let (one, other) = (connect(), connect());
            other.batch("CREATE TABLE thing (id BIGINT)").unwrap();
            assert!(has_table(&one, "thing").unwrap());
            one.begin().unwrap();
            other.batch("DROP TABLE thing").unwrap();
            assert!(!has_table(&one, "thing").unwrap());
            one.rollback().unwrap();
        });
        task.await.unwrap();
    }

    #[test]
    fn streams_of_before_keep_what_they_had_and_belong_to_nobody_yet() {
        let connection = Connection::sqlite(rusqlite::Connection::open_in_memory().unwrap());
        for (version, step) in &SQLITE[..3] {
            connection.batch(step).unwrap();
            set_version(&connection, *version).unwrap();
        }
        let add = "INSERT INTO audit_stream (stream, proxy, hop, stored, highest, duplicates, conflicts)
            VALUES (?1, ?2, ?3, 5, 7, 0, 0)";
        connection.execute(add, params![[1_u8; 16], "control-service", "control"]).unwrap();
        connection.execute(add, params![[2_u8; 16], "router~1", "gateway"]).unwrap();
        migrate(&connection).unwrap();
        let sql = "SELECT kind, principal, base, began_at_ms > 1e12 FROM audit_stream ORDER BY id";
        let rows = connection
            .query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap();
        let row = |kind: &str| (kind.to_owned(), String::new(), 7_i64, true);
        assert_eq!(rows, [row("control"), row("unknown")]);
    }

    /// A database of the version before holds had an author, as this one has it.
    fn holds_of_before(connection: &Connection) -> Vec<(String, String)> {
        make_version(connection, 13).unwrap();
        let add = "INSERT INTO cluster (id, tenant, placement, administrative, observed, token_digest, created_at_ms, suspended_by)
            VALUES (?1, 'acme', 'on_premises', ?2, 'online', ?3, 1, ?4)";
        for (id, state, by) in [
            ("a", "active", ""),
            ("b", "suspended", "platform"),
            ("c", "suspended", "owner tenant platform"),
            ("d", "suspended", ""),
            ("e", "retired", "owner"),
        ] {
            connection.execute(add, params![id, state, [0_u8; 32], by]).unwrap();
        }
        migrate(connection).unwrap();
        let read = |row: &portcullis_sql::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        connection.query("SELECT id, holds FROM cluster ORDER BY id", params![], read).unwrap()
    }

    #[tokio::test]
    async fn a_suspension_of_before_is_a_hold_of_each_side_that_made_it() {
        let server = Postgres::start(&paths::target().join("postgres/holds")).await.unwrap();
        let url = server.database("holds").await.unwrap();
        let task = tokio::task::spawn_blocking(move || {
            let file = Connection::sqlite(rusqlite::Connection::open_in_memory().unwrap());
            for connection in [file, Server::parse(&url).unwrap().connect().unwrap()] {
                let found = holds_of_before(&connection);
                let side = |side: &str| format!(r#"{{"side":"{side}"}}"#);
                let all = [side("owner"), side("tenant"), side("platform")].join(",");
                let wanted = [
                    ("a", String::new()),
                    ("b", side("platform")),
                    ("c", all),
                    ("d", side("platform")),
                    ("e", String::new()),
                ];
                assert_eq!(found, wanted.map(|(id, held)| (id.to_owned(), format!("[{held}]"))));
                let holds = |text: &String| serde_json::from_str::<Holds>(text).unwrap().sides().count();
                assert_eq!(found.iter().map(|(_, text)| holds(text)).collect::<Vec<_>>(), [0, 1, 3, 1, 0]);
            }
        });
        task.await.unwrap();
    }

    #[test]
    fn tokens_of_before_are_administrators_and_revocations_the_platforms() {
        let connection = Connection::sqlite(rusqlite::Connection::open_in_memory().unwrap());
        for (version, step) in &SQLITE[..7] {
            connection.batch(step).unwrap();
            set_version(&connection, *version).unwrap();
        }
        connection
            .batch(
                "INSERT INTO administrator (id, token_digest, break_glass, created_at_ms) VALUES ('a', zeroblob(32), 0, 1);
                 INSERT INTO revocation (name, note, created_at_ms) VALUES ('jti:1', '', 1);",
            )
            .unwrap();
        let add = "INSERT INTO cluster (id, tenant, placement, administrative, observed, token_digest, created_at_ms)
            VALUES (?1, 'acme', 'on_premises', ?2, 'online', zeroblob(32), 1)";
        for state in ["active", "suspended", "retired"] {
            connection.execute(add, params![state, state]).unwrap();
        }
        migrate(&connection).unwrap();
        let text = |sql: &str| connection.query_one(sql, params![], |row| row.get::<String>(0)).unwrap();
        assert_eq!(
            text("SELECT role || coalesce(tenant, '') || coalesce(cluster, '') FROM administrator"),
            "administrator"
        );
        assert_eq!(text("SELECT made_by FROM revocation"), "platform");
    }

    #[test]
    fn both_databases_have_the_same_newest_version() {
        assert_eq!(SQLITE.last().map(|(version, _)| version), POSTGRES.last().map(|(version, _)| version));
    }
}
