//! That each query is answered by an index, at a million records, on both databases.

use std::time::Instant;

use portcullis_control_domain::audit::{Order, RecordQuery};
use portcullis_control_domain::caller::Reach;
use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use portcullis_sql::{Backend, Connection, Server, params};

use super::super::{schema, sqlite};
use super::read::{Whose, records, statement};
use crate::subject_key::AuditKeys;

/// Empty records of 2,000 people about 300 clusters.
fn fill(connection: &Connection) {
    let (numbers, zeros) = match connection.backend() {
        Backend::Sqlite => (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)",
            "zeroblob",
        ),
        Backend::Postgres => (
            "CREATE FUNCTION zeros(n INT) RETURNS BYTEA LANGUAGE sql AS 'SELECT decode(repeat(''00'', n), ''hex'')';
             WITH n(i) AS (SELECT CAST(generate_series(1, 1000000) AS BIGINT))",
            "zeros",
        ),
    };
    let insert = format!(
        "{numbers} INSERT INTO audit_record
            (position, stream_id, sequence, entry, request, cluster, subject_id, salt, body)
         SELECT i, 1, i, {zeros}(49), i * 2654435761 % 1000000007, 'cluster-' || (i % 300), i % 2000,
            {zeros}(32), {zeros}(6) FROM n"
    );
    let stream = "INSERT INTO audit_stream (stream, proxy, hop, stored, highest, duplicates, conflicts)
        VALUES (?1, '', '', 0, 0, 0, 0)";
    connection.execute(stream, params![[1_u8; 16]]).unwrap();
    connection.batch(&insert).unwrap();
    if connection.backend() == Backend::Postgres {
        connection.batch("ANALYZE").unwrap();
    }
}

fn plan(connection: &Connection, query: &RecordQuery, whose: Whose<'_>) -> String {
    let (explain, column) = match connection.backend() {
        Backend::Sqlite => ("EXPLAIN QUERY PLAN ", 3),
        Backend::Postgres => ("EXPLAIN ", 0),
    };
    let (sql, values) = statement(query, whose, (Some(1), Some(2)));
    let lines = connection.query(&[explain, &sql].concat(), &values, |row| row.get::<String>(column));
    lines.unwrap().join("\n")
}

fn check(connection: &Connection) {
    schema::migrate(connection).unwrap();
    fill(connection);
    let query = RecordQuery { reach: Reach::Platform, limit: 100, ..RecordQuery::default() };
    let by_request = RecordQuery { request_id: Some("r".to_owned()), ..query.clone() };
    let by_cluster = RecordQuery { cluster: Some("cluster-7".to_owned()), ..query.clone() };
    let by_reason = RecordQuery { reason: Some("cluster_unknown".to_owned()), ..query.clone() };
    let key = match connection.backend() {
        Backend::Sqlite => "INTEGER PRIMARY KEY",
        Backend::Postgres => "audit_record_pkey",
    };
    let asked = [
        (&query, None, key),
        (&by_reason, None, key),
        (&by_request, None, "audit_by_request"),
        (&by_cluster, None, "audit_by_cluster"),
        (&query, Some(7), "audit_by_subject"),
    ];
    for (query, subject, index) in asked {
        for order in [Order::Oldest, Order::Newest] {
            let query = RecordQuery { order, ..query.clone() };
            let plan = plan(connection, &query, subject.map_or(Whose::Anybody, Whose::One));
            assert!(plan.contains(index), "{query:?}\n{plan}");
            let sorted = plan.contains("TEMP B-TREE") || plan.contains("Sort");
            let all = plan.contains("Seq Scan on audit_record") || plan.contains("SCAN r\n");
            let found_in_order = index == "audit_by_request" || !sorted;
            assert!(found_in_order && (index == key || !all), "{query:?}\n{plan}");
            let begun = Instant::now();
            records(connection, &AuditKeys::of(&[1; 32]), &query).unwrap();
            println!("{:?} {order:?} by {index}: {:?}", connection.backend(), begun.elapsed());
        }
    }
    let lookup = [7; 32];
    let several = plan(connection, &query, Whose::Several(&lookup));
    assert!(several.contains("audit_by_subject"), "{several}");
}

#[test]
fn each_query_is_answered_by_an_index_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    check(&Connection::sqlite(sqlite::connect(&folder.path().join("portcullis.db")).unwrap()));
}

#[tokio::test]
async fn each_query_is_answered_by_an_index_of_a_server() {
    let server = Postgres::start(&paths::target().join("postgres/plans")).await.unwrap();
    let url = server.database("plans").await.unwrap();
    let task = tokio::task::spawn_blocking(move || {
        let connection = Server::parse(&url).unwrap().connect().unwrap();
        check(&connection);
        let rows = "SELECT count(*) FROM audit_record";
        assert_eq!(connection.query_one(rows, params![], |row| row.get::<i64>(0)).unwrap(), 1_000_000);
    });
    task.await.unwrap();
}
