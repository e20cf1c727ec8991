//! The same statements on both databases, PostgreSQL being a real server.

use std::time::Duration;

use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use portcullis_sql::{Backend, Begun, Channel, Connection, Row, SqlError, Tls, Value, params};

const TABLE: [(Backend, &str); 2] = [
    (
        Backend::Sqlite,
        "CREATE TABLE thing (id TEXT PRIMARY KEY, size INTEGER, bytes BLOB, alive INTEGER) STRICT",
    ),
    (Backend::Postgres, "CREATE TABLE thing (id TEXT PRIMARY KEY, size BIGINT, bytes BYTEA, alive BOOLEAN)"),
];

fn sqlite() -> Connection {
    Connection::sqlite(rusqlite::Connection::open_in_memory().unwrap())
}

fn postgres(url: &str) -> Connection {
    Connection::postgres(&url.parse().unwrap(), Tls::Off).unwrap()
}

fn make(connection: &Connection) {
    let (_, table) = TABLE.iter().find(|(backend, _)| *backend == connection.backend()).unwrap();
    connection.batch(table).unwrap();
}

/// Runs a test on both, each with an empty table.
async fn on_both(name: &str, test: impl Fn(&Connection) + Send + Sync + 'static) {
    let server =
        Postgres::start(&paths::target().join("postgres").join(["sql-", name].concat())).await.unwrap();
    let url = server.database(name).await.unwrap();
    tokio::task::spawn_blocking(move || {
        for connection in [sqlite(), postgres(&url)] {
            make(&connection);
            test(&connection);
        }
    })
    .await
    .unwrap();
}

type Thing = (String, Option<u64>, Option<Vec<u8>>, bool);

fn read(row: &Row<'_>) -> Result<Thing, SqlError> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

#[tokio::test]
async fn many_rows_are_added_at_once_or_none() {
    on_both("append", |connection| {
        let names: Vec<_> = (0..1000).map(|number| format!("{number:04}")).collect();
        let row =
            |name| [Value::Text(name), Value::Integer(7), Value::Bytes(&[0, 255]), Value::Boolean(true)];
        let columns = ["id", "size", "bytes", "alive"];
        let add =
            |_: Begun<'_>| connection.append("thing", &columns, names.iter().map(|name| row(name.as_str())));
        connection.exclusively(add).unwrap();
        let all = connection.query("SELECT id, size, bytes, alive FROM thing ORDER BY id", params![], read);
        let wanted = |name: &String| (name.clone(), Some(7), Some(vec![0, 255]), true);
        assert_eq!(all.unwrap(), names.iter().map(wanted).collect::<Vec<_>>());
        let none = [Value::Text("none"), Value::Null, Value::Null, Value::Boolean(false)];
        let twice = |_: Begun<'_>| connection.append("thing", &columns, [none, row("0001")]);
        assert!(connection.exclusively(twice).is_err());
        let count = "SELECT count(*) FROM thing";
        let left: i64 = connection.query_one(count, params![], |row| row.get(0)).unwrap();
        assert_eq!(left, 1000, "and the connection is of use");
    })
    .await;
}

#[tokio::test]
async fn one_statement_takes_as_many_rows_as_there_are_in_a_list() {
    on_both("elements", |connection| {
        let sql = [
            "INSERT INTO thing (id, size) SELECT value ->> 0, CAST(value ->> 1 AS BIGINT) FROM ",
            connection.backend().elements(),
        ]
        .concat();
        for (list, added) in [("[]", 0), (r#"[["a", 1], ["\"b' ?1", 9007199254740993]]"#, 2)] {
            assert_eq!(connection.execute(&sql, params![list]).unwrap(), added);
        }
        let read = |row: &Row<'_>| Ok((row.get::<String>(0)?, row.get::<u64>(1)?));
        let all = connection.query("SELECT id, size FROM thing ORDER BY size", params![], read).unwrap();
        assert_eq!(all, [("a".to_owned(), 1), ("\"b' ?1".to_owned(), 9_007_199_254_740_993)]);
    })
    .await;
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    on_both("values", |connection| {
        let insert = "INSERT INTO thing (id, size, bytes, alive) VALUES (?1, ?2, ?3, ?4)";
        let none: (Option<u64>, Option<Vec<u8>>) = (None, None);
        let great = u64::try_from(i64::MAX).unwrap();
        assert_eq!(connection.execute(insert, params!["a", great, [0_u8, 255], true]).unwrap(), 1);
        assert_eq!(connection.execute(insert, params!["b", none.0, none.1, false]).unwrap(), 1);
        let all = connection.query("SELECT id, size, bytes, alive FROM thing ORDER BY id", params![], read);
        let wanted = [("a".into(), Some(great), Some(vec![0, 255]), true), ("b".into(), None, None, false)];
        assert_eq!(all.unwrap(), wanted);
        // A parameter may be left out of the condition, stand in it twice, and in another order.
        let some = "SELECT id FROM thing WHERE (CAST(?2 AS TEXT) IS NULL OR id = ?2) AND alive = ?1";
        let ids = |alive, id: Option<&str>| {
            connection.query(some, params![alive, id], |row| row.get::<String>(0)).unwrap()
        };
        assert_eq!((ids(true, None), ids(true, Some("b"))), (vec!["a".to_owned()], Vec::new()));
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_and_leaves_nothing() {
    on_both("unfit", |connection| {
        let insert = "INSERT INTO thing (id, size) VALUES (?1, ?2)";
        let told = connection.execute(insert, params!["a", u64::MAX]).unwrap_err().to_string();
        assert!(told.contains("too great") || told.contains("serializing"), "{told}");
        connection.execute(insert, params!["secret", -1]).unwrap();
        let read = |row: &Row<'_>| row.get::<u64>(0);
        let told = connection.query_one("SELECT size FROM thing", params![], read).unwrap_err().to_string();
        assert!(told.contains("column 0 holds no u64"), "{told}");
        let twice = connection.execute(insert, params!["secret", 1]).unwrap_err();
        assert!(!twice.to_string().contains("secret"), "values are not told: {twice}");
        assert!(!twice.is_disconnected());
        let missing = connection.query_one("SELECT size FROM thing WHERE id = ?1", params!["x"], read);
        assert!(matches!(missing, Err(SqlError::NoRow)));
    })
    .await;
}

#[tokio::test]
async fn a_part_of_a_transaction_can_be_taken_back() {
    on_both("savepoint", |connection| {
        let insert = "INSERT INTO thing (id) VALUES (?1)";
        connection.batch("BEGIN").unwrap();
        connection.execute(insert, params!["kept"]).unwrap();
        connection.batch("SAVEPOINT job").unwrap();
        connection.execute(insert, params!["gone"]).unwrap();
        assert!(connection.execute(insert, params!["kept"]).is_err());
        connection.batch("ROLLBACK TO job").unwrap();
        connection.batch("RELEASE job").unwrap();
        connection.batch("COMMIT").unwrap();
        let ids = connection.query("SELECT id FROM thing", params![], |row| row.get::<String>(0)).unwrap();
        assert_eq!(ids, ["kept"]);
    })
    .await;
}

#[tokio::test]
async fn a_query_that_is_left_in_the_middle_leaves_the_connection_usable() {
    on_both("middle", |connection| {
        for n in 0..1000 {
            connection
                .execute("INSERT INTO thing (id, size) VALUES (?1, ?2)", params![n.to_string(), n])
                .unwrap();
        }
        let mut seen = 0;
        let left = connection.each("SELECT size FROM thing", params![], |_| {
            seen += 1;
            if seen == 10 { Err(SqlError::NoRow) } else { Ok(()) }
        });
        assert!(left.is_err() && seen == 10);
        let count = connection.query_one("SELECT count(*) FROM thing", params![], |row| row.get::<u64>(0));
        assert_eq!(count.unwrap(), 1000);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_apart_from_a_statement_that_fails() {
    let mut server = Postgres::start(&paths::target().join("postgres/sql-gone")).await.unwrap();
    let url = server.database("gone").await.unwrap();
    let connection = tokio::task::spawn_blocking(move || {
        let connection = postgres(&url);
        assert!(!connection.batch("SELECT nothing").unwrap_err().is_disconnected());
        connection
    })
    .await
    .unwrap();
    server.kill().await.unwrap();
    tokio::task::spawn_blocking(move || {
        let told = connection.batch("SELECT 1").unwrap_err();
        assert!(told.is_disconnected(), "{told}");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn queries_at_one_moment_do_not_see_what_comes_between() {
    let server = Postgres::start(&paths::target().join("postgres/sql-moment")).await.unwrap();
    let url = server.database("moment").await.unwrap();
    let count = "SELECT count(*) FROM thing";
    let look = |connection: &Connection| connection.query_one(count, params![], |row| row.get::<u64>(0));
    let job = move || {
        let (one, other) = (postgres(&url), postgres(&url));
        make(&one);
        let seen = one.at_one_moment(|| {
            let before = look(&one)?;
            other.execute("INSERT INTO thing (id, alive) VALUES (?1, ?2)", params!["a", true])?;
            Ok::<_, SqlError>((before, look(&one)?))
        });
        assert_eq!((seen.unwrap(), look(&one).unwrap()), ((0, 0), 1));
        assert!(one.now_ms().unwrap().abs_diff(sqlite().now_ms().unwrap()) < 60_000);
    };
    tokio::task::spawn_blocking(job).await.unwrap();
}

#[tokio::test]
async fn a_call_is_heard_when_it_is_committed_and_not_otherwise() {
    let server = Postgres::start(&paths::target().join("postgres/sql-calls")).await.unwrap();
    let url = server.database("calls").await.unwrap();
    let job = move || {
        let (channel, short, long) =
            (Channel::new("something_new"), Duration::from_millis(50), Duration::from_secs(60));
        let (caller, listener) = (postgres(&url), postgres(&url));
        listener.listen(channel).unwrap();
        let call = |statements| {
            caller.begin().unwrap();
            caller.commit_after(statements, Some(channel))
        };
        assert!(call("SELECT nonsense;").is_err());
        caller.rollback().unwrap();
        assert!(!listener.wait(short).unwrap(), "what is not committed is not heard");
        call("").unwrap();
        assert!(listener.wait(long).unwrap());
        assert!(!listener.wait(short).unwrap(), "it is heard once");
        assert!(!sqlite().wait(short).unwrap(), "a file has nobody who could call");
    };
    tokio::task::spawn_blocking(job).await.unwrap();
}
