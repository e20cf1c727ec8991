//! The log's entry: a commitment that outlives what it commits to.

use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::{
    AuditRow, DataSubject, Erased, Hop, LogBody, LogEntry, Order, RecordQuery, leaf_hash,
};
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_store::{Store, StoreError, open_personal};
use portcullis_protocol::wire::AuditRecord;
use portcullis_sql::{Connection, params};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::audit::{batch, gateway, record};
use crate::on_both;
use crate::world::{World, action};

on_both! {
    an_entry_commits_to_its_record_and_shows_nothing_of_it,
    nothing_personal_is_in_clear,
    an_erased_person_is_gone_everywhere_and_nobody_else,
    a_request_is_found_by_its_id_until_its_person_is_erased,
    unverified_callers_of_a_day_can_be_erased,
    what_was_erased_is_no_conflict_when_it_comes_again,
    a_record_that_comes_twice_in_one_batch_is_stored_once,
    salt_and_body_can_be_deleted_and_the_log_stays,
    the_newest_come_first_page_by_page,
    an_older_database_is_converted_once,
}

const ZOE: DataSubject<'_> = DataSubject::Known { tenant: "acme", issuer: "", subject: "zoë" };

fn personal(sequence: u64, subject: &str) -> AuditRecord {
    AuditRecord {
        subject: subject.to_owned(),
        path: ["/people/", subject].concat(),
        client_address: "192.0.2.77".to_owned(),
        actors: vec!["agent-of-zoë".to_owned()],
        key_id: "key-of-zoë".to_owned(),
        mcp_name: "inbox-of-zoë".to_owned(),
        // A client writes what it likes there.
        request_id: ["request-of-", subject].concat(),
        trace_id: ["trace-of-", subject].concat(),
        ..record(sequence)
    }
}

/// Nothing of it tells of a person.
fn bare(sequence: u64) -> AuditRecord {
    AuditRecord { subject: String::new(), request_id: String::new(), ..record(sequence) }
}

fn everything() -> RecordQuery {
    RecordQuery { reach: Reach::Platform, ..RecordQuery::default() }
}

async fn rows(store: &Store, query: RecordQuery) -> Vec<AuditRow> {
    store.records(RecordQuery { limit: 1000, ..query }).await.unwrap().0
}

async fn of_gateway(store: &Store) -> Vec<AuditRow> {
    rows(store, RecordQuery { reach: Reach::Platform, hop: Some(Hop::Gateway), ..RecordQuery::default() })
        .await
}

async fn of_subject(store: &Store, subject: &str) -> Vec<AuditRow> {
    rows(
        store,
        RecordQuery { reach: Reach::Platform, subject: Some(subject.to_owned()), ..RecordQuery::default() },
    )
    .await
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn an_entry_commits_to_its_record_and_shows_nothing_of_it(world: World) {
    let store = world.store().await;
    let before = now_ms();
    let same = AuditRecord { sequence: 2, ..personal(1, "zoë") };
    store.ingest(gateway("a"), batch(&[personal(1, "zoë"), same, bare(3)], 0)).await.unwrap();
    let found = of_gateway(&store).await;
    assert_eq!(found.len(), 3);
    for row in &found {
        let bytes = row.entry.clone().unwrap();
        let entry = LogEntry::decode(&bytes).unwrap();
        assert_eq!((entry.index, row.leaf), (row.index, leaf_hash(&bytes)));
        assert!((before..=now_ms()).contains(&entry.received_ms));
        let proof = store.log_proof(Reach::Platform, row.index).await.unwrap();
        let (salt, body) = proof.content.unwrap();
        assert!(proof.entry.as_deref() == Some(&bytes) && proof.leaf == row.leaf);
        assert!(entry.commits_to(&salt, &body));
        let parts = LogBody::decode(&body).unwrap();
        assert_eq!(parts.principal, "spiffe://cluster.local/ns/gateway/sa/a");
        let opened =
            proof.record_key.map(|key| open_personal(&key, parts.sealed).unwrap()).unwrap_or_default();
        let whole = [parts.open, &opened].concat();
        assert_eq!(AuditRecord::decode(whole.as_slice()).unwrap(), row.record);
    }
    let last = store.log_proof(Reach::Platform, found[2].index).await.unwrap();
    assert!(last.record_key.is_none(), "nothing of it is personal");
    let unknown = store.log_proof(Reach::Platform, found[2].index + 1).await.err();
    assert!(matches!(unknown, Some(StoreError::Refused(Refused::EntryUnknown))));
}

async fn nothing_personal_is_in_clear(world: World) {
    let store = world.store().await;
    store.ingest(gateway("a"), batch(&[personal(1, "zoë")], 0)).await.unwrap();
    assert_eq!(of_subject(&store, "zoë").await[0].record, personal(1, "zoë"), "it is there");
    let dump = world.sql(|connection| {
        let table = |sql: &str| -> Vec<Vec<u8>> {
            connection.query(sql, params![], |row| row.get::<Vec<u8>>(0)).unwrap()
        };
        [
            table("SELECT entry FROM audit_record"),
            table("SELECT body FROM audit_record"),
            table("SELECT wrapped_key FROM audit_subject"),
            table("SELECT name FROM audit_subject"),
        ]
        .concat()
    });
    let dump = [dump.await.concat(), world.files()].concat();
    for text in ["zoë", "/people", "192.0.2.77", "agent-of", "key-of", "inbox-of", "request-of", "trace-of"]
    {
        assert!(!contains(&dump, text), "{text}");
    }
    assert!(contains(&dump, "orders"), "it was looked at");
}

async fn a_request_is_found_by_its_id_until_its_person_is_erased(world: World) {
    let store = world.store().await;
    store.ingest(gateway("a"), batch(&[personal(1, "zoë"), personal(2, "ann")], 0)).await.unwrap();
    let of_request = async |id: &str| {
        let query = RecordQuery { request_id: Some(id.to_owned()), ..everything() };
        rows(&store, query).await.into_iter().map(|row| row.record.sequence).collect::<Vec<_>>()
    };
    assert_eq!((of_request("request-of-zoë").await, of_request("request-of-ann").await), (vec![1], vec![2]));
    // As versions of before stored it: the id in clear, found by its hash without a key.
    let old = AuditRecord { request_id: "request-of-old".to_owned(), sequence: 7, ..bare(7) };
    let body = LogBody { principal: "", open: &old.encode_to_vec(), sealed: b"" }.encode().unwrap();
    let insert = "INSERT INTO audit_record (position, stream_id, sequence, entry, request, salt, body)
        SELECT max(position) + 1, max(stream_id), 7, ?1, ?2, ?3, ?4 FROM audit_record";
    let request = i64::from_be_bytes(*Sha256::digest("request-of-old").first_chunk().unwrap());
    let write = move |connection: &Connection| {
        connection.execute(insert, params![[0_u8; 49], request, [0_u8; 32], body]).unwrap()
    };
    world.sql(write).await;
    assert_eq!(of_request("request-of-old").await, [7]);
    store.erase_subject(&ZOE, action("/v1/audit/erasures")).await.unwrap();
    assert_eq!(of_request("request-of-zoë").await, [0_u64; 0], "nobody can tell that it is the one");
    assert_eq!(of_request("request-of-ann").await, [2]);
}

async fn an_erased_person_is_gone_everywhere_and_nobody_else(world: World) {
    let store = world.store().await;
    let other = AuditRecord { tenant: "globex".to_owned(), ..personal(3, "zoë") };
    let batch_of = |records: &[AuditRecord]| batch(records, 0);
    store
        .ingest(gateway("a"), batch_of(&[personal(1, "zoë"), personal(2, "ann"), other.clone()]))
        .await
        .unwrap();
    let before = of_gateway(&store).await;
    assert_eq!(of_subject(&store, "zoë").await.len(), 2, "in both tenants");
    let name = store.erase_subject(&ZOE, action("/v1/audit/erasures")).await.unwrap();
    let after = of_gateway(&store).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.entry, before.leaf), (&after.entry, after.leaf), "the log stays");
    }
    assert_eq!((&after[0].record, after[0].erased), (&bare(1), Some(Erased::Subject)));
    assert_eq!((&after[1].record, after[1].erased), (&personal(2, "ann"), None));
    assert_eq!((&after[2].record, after[2].erased), (&other, None));
    assert_eq!(of_subject(&store, "zoë").await.len(), 1, "of the other tenant");
    let proof = store.log_proof(Reach::Platform, after[0].index).await.unwrap();
    let (salt, body) = proof.content.unwrap();
    assert!(
        proof.record_key.is_none()
            && LogEntry::decode(&proof.entry.unwrap()).unwrap().commits_to(&salt, &body)
    );

    let again = store.erase_subject(&ZOE, action("/v1/audit/erasures")).await;
    assert!(matches!(again, Err(StoreError::Refused(Refused::SubjectUnknown))), "{again:?}");
    assert_eq!(store.audit_status().await.unwrap().erasures, 1);
    let by = rows(
        &store,
        RecordQuery { reach: Reach::Platform, hop: Some(Hop::Control), ..RecordQuery::default() },
    )
    .await;
    let told = by.iter().find(|row| row.record.path.starts_with("/v1/audit/erasures")).unwrap();
    assert_eq!(told.record.path, ["/v1/audit/erasures/", &name].concat());
    assert!(!format!("{:?}", told.record).contains("zoë"));

    store.ingest(gateway("a"), batch_of(&[personal(4, "zoë")])).await.unwrap();
    store.close().await;
    drop(store);
    let store = world.store().await;
    let found = of_gateway(&store).await;
    assert_eq!((&found[3].record, found[3].erased), (&personal(4, "zoë"), None), "with a new key");
    assert_eq!((&found[0].record, found[0].erased), (&bare(1), Some(Erased::Subject)));
}

async fn unverified_callers_of_a_day_can_be_erased(world: World) {
    let store = world.store().await;
    store.ingest(gateway("a"), batch(&[personal(1, ""), personal(2, "ann")], 0)).await.unwrap();
    let today = DataSubject::Unverified { day: now_ms() / 86_400_000 };
    let yesterday = DataSubject::Unverified { day: now_ms() / 86_400_000 - 1 };
    let found = of_gateway(&store).await;
    assert_eq!(found[0].record, personal(1, ""));
    let none = store.erase_subject(&yesterday, action("/v1/audit/erasures")).await;
    assert!(matches!(none, Err(StoreError::Refused(Refused::SubjectUnknown))), "{none:?}");
    store.erase_subject(&today, action("/v1/audit/erasures")).await.unwrap();
    let found = of_gateway(&store).await;
    assert_eq!((found[0].record.client_address.as_str(), found[0].erased), ("", Some(Erased::Subject)));
    assert_eq!(found[1].record, personal(2, "ann"));
}

async fn what_was_erased_is_no_conflict_when_it_comes_again(world: World) {
    let store = world.store().await;
    store.ingest(gateway("a"), batch(&[personal(1, "zoë"), personal(2, "zoë")], 0)).await.unwrap();
    let counted = async || {
        let status = store.audit_status().await.unwrap();
        (status.duplicates, status.conflicts)
    };
    store.ingest(gateway("a"), batch(&[personal(1, "zoë")], 0)).await.unwrap();
    assert_eq!(counted().await, (1, 0));
    store.ingest(gateway("a"), batch(&[personal(1, "mallory")], 0)).await.unwrap();
    assert_eq!(counted().await, (2, 1));
    store.erase_subject(&ZOE, action("/v1/audit/erasures")).await.unwrap();
    store.ingest(gateway("a"), batch(&[personal(1, "zoë")], 0)).await.unwrap();
    assert_eq!(counted().await, (3, 1), "nobody can tell any more");
    let other = AuditRecord { status: 500, ..personal(2, "zoë") };
    store.ingest(gateway("a"), batch(&[other], 0)).await.unwrap();
    assert_eq!(counted().await, (4, 2), "what is in clear can be compared");
}

async fn a_record_that_comes_twice_in_one_batch_is_stored_once(world: World) {
    let store = world.store().await;
    let records = [
        personal(1, "zoë"),
        personal(2, "zoë"),
        personal(1, "zoë"),
        personal(2, "mallory"),
        personal(3, "zoë"),
    ];
    let outcome = store.ingest(gateway("a"), batch(&records, 0)).await.unwrap();
    assert_eq!((outcome.ack.stored, outcome.ack.duplicates), (3, 2));
    assert_eq!(store.audit_status().await.unwrap().conflicts, 1);
    let found: Vec<_> = of_gateway(&store).await.into_iter().map(|row| row.record).collect();
    assert_eq!(found, [personal(1, "zoë"), personal(2, "zoë"), personal(3, "zoë")]);
}

async fn salt_and_body_can_be_deleted_and_the_log_stays(world: World) {
    let store = world.store().await;
    store.ingest(gateway("a"), batch(&[personal(1, "zoë"), personal(2, "zoë")], 0)).await.unwrap();
    let before = rows(&store, everything()).await;
    let first = before.iter().find(|row| row.record == personal(1, "zoë")).unwrap().clone();
    let index = first.index;
    world
        .sql(move |connection| {
            let content = "salt = NULL, body = NULL, request = NULL, cluster = NULL, subject_id = NULL";
            let delete = format!("UPDATE audit_record SET {content} WHERE position = {index}");
            connection.batch(&delete).unwrap();
            for more in [
                "DELETE FROM audit_record",
                "UPDATE audit_record SET cluster = 'x'",
                "UPDATE audit_record SET body = salt",
                &format!("UPDATE audit_record SET {content}, entry = NULL, leaf = salt"),
                &format!("UPDATE audit_record SET {content}, sequence = sequence + 9"),
                &format!("UPDATE audit_record SET {content}, position = position + 9"),
            ] {
                let error = connection.batch(more).unwrap_err().to_string();
                assert!(error.contains("append-only"), "{more}: {error}");
            }
        })
        .await;
    let after = rows(&store, everything()).await;
    let gone = after.iter().find(|row| row.index == index).unwrap();
    assert_eq!((gone.erased, &gone.record), (Some(Erased::Record), &AuditRecord::default()));
    assert_eq!((&gone.entry, gone.leaf), (&first.entry, first.leaf));
    assert_eq!(after.len(), before.len());
    assert!(after.iter().any(|row| row.record == personal(2, "zoë")));
    assert_eq!(of_subject(&store, "zoë").await.len(), 1, "nobody knows whose it was");
    assert!(store.log_proof(Reach::Platform, index).await.unwrap().content.is_none());
    let again = store.ingest(gateway("a"), batch(&[personal(1, "zoë")], 0)).await.unwrap();
    assert_eq!((again.ack.stored, again.ack.duplicates), (0, 1), "its number is known");
    let status = store.audit_status().await.unwrap();
    assert_eq!((status.missing, status.conflicts), (0, 0));
}

async fn the_newest_come_first_page_by_page(world: World) {
    let store = world.store().await;
    let records: Vec<_> = (1..=25).map(|n| personal(n, if n % 2 == 0 { "zoë" } else { "ann" })).collect();
    store.ingest(gateway("a"), batch(&records, 0)).await.unwrap();
    let pages = async |query: RecordQuery| {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = RecordQuery { order: Order::Newest, before, limit: 4, ..query.clone() };
            let (rows, next) = store.records(page).await.unwrap();
            assert!(rows.len() <= 4);
            seen.extend(rows.iter().map(|row| row.record.sequence));
            match next {
                Some(next) => before = Some(next),
                None => break seen,
            }
        }
    };
    let wanted = |step| (1..=25).rev().filter(|n| n % step == 0).collect::<Vec<u64>>();
    let by_hop = RecordQuery { reach: Reach::Platform, hop: Some(Hop::Gateway), ..RecordQuery::default() };
    assert_eq!(pages(by_hop).await, wanted(1));
    let by_subject =
        RecordQuery { reach: Reach::Platform, subject: Some("zoë".to_owned()), ..RecordQuery::default() };
    assert_eq!(pages(by_subject).await, wanted(2));
    let by_cluster =
        RecordQuery { reach: Reach::Platform, cluster: Some("orders".to_owned()), ..RecordQuery::default() };
    assert_eq!(pages(by_cluster.clone()).await, wanted(1));
    let all = rows(&store, by_cluster).await;
    let between = RecordQuery {
        reach: Reach::Platform,
        order: Order::Newest,
        after: all[4].index,
        before: Some(all[8].index),
        ..RecordQuery::default()
    };
    let between: Vec<_> = rows(&store, between).await.iter().map(|row| row.record.sequence).collect();
    assert_eq!(between, [8, 7, 6], "neither end is one of them");
}

/// What the fourth schema made, before there were entries.
fn make_old(connection: &Connection, records: &[AuditRecord]) {
    let sqlite = [
        include_str!("../../src/sql/schema/sqlite/1.sql"),
        include_str!("../../src/sql/schema/sqlite/2.sql"),
        include_str!("../../src/sql/schema/sqlite/3.sql"),
        include_str!("../../src/sql/schema/sqlite/4.sql"),
        "PRAGMA user_version = 4",
    ];
    let postgres =
        [include_str!("../../src/sql/schema/postgres/4.sql"), "UPDATE schema_version SET version = 4"];
    let steps = match connection.backend() {
        portcullis_sql::Backend::Sqlite => &sqlite[..],
        portcullis_sql::Backend::Postgres => &postgres,
    };
    steps.iter().for_each(|step| connection.batch(step).unwrap());
    connection
        .execute(
            "INSERT INTO audit_stream (stream, proxy, hop, stored, highest, duplicates, conflicts, principal, kind)
                VALUES (?1, 'router~1', 'gateway', ?2, ?2, 0, 0, 'spiffe://cluster.local/ns/gateway/sa/a', 'gateway')",
            params![[1_u8; 16], records.len()],
        )
        .unwrap();
    let insert =
        "INSERT INTO audit_record (position, stream_id, sequence, request_id, subject, cluster, bytes, leaf)
        VALUES (?1, 1, ?1, ?2, ?3, ?4, ?5, ?6)";
    connection
        .exclusively(|_| {
            for record in records {
                let AuditRecord { sequence, request_id, subject, cluster, .. } = record;
                let bytes = record.encode_to_vec();
                connection.execute(
                    insert,
                    params![sequence, request_id, subject, cluster, bytes, leaf_hash(&bytes)],
                )?;
            }
            Ok::<_, portcullis_sql::SqlError>(())
        })
        .unwrap();
}

async fn an_older_database_is_converted_once(world: World) {
    let old: Vec<_> = (1..=2100)
        .map(|n| match n % 3 {
            0 => personal(n, "zoë"),
            1 => personal(n, "ann"),
            _ => AuditRecord { subject: String::new(), ..record(n) },
        })
        .collect();
    let records = old.clone();
    world.sql(move |connection| make_old(connection, &records)).await;
    let store = world.store().await;
    let status = store.audit_status().await.unwrap();
    assert_eq!((status.committed_from, status.total, status.missing), (2101, 2100, 0));
    let query = |after| RecordQuery {
        reach: Reach::Platform,
        hop: Some(Hop::Gateway),
        after,
        ..RecordQuery::default()
    };
    let mut found = Vec::new();
    for after in [0, 1000, 2000] {
        found.extend(rows(&store, query(after)).await);
    }
    assert_eq!(found.len(), old.len());
    for (row, old) in found.iter().zip(&old) {
        assert_eq!((&row.record, row.erased, &row.entry), (old, None, &None));
        assert_eq!(row.leaf, leaf_hash(&old.encode_to_vec()), "what was published");
        assert_eq!(row.principal, "spiffe://cluster.local/ns/gateway/sa/a");
    }
    assert_eq!(of_subject(&store, "zoë").await.len(), 700);
    let proof = store.log_proof(Reach::Platform, 3).await.unwrap();
    let (_, body) = proof.content.unwrap();
    let whole = open_personal(&proof.record_key.unwrap(), LogBody::decode(&body).unwrap().sealed).unwrap();
    assert_eq!(leaf_hash(&whole), proof.leaf, "an auditor can verify it");

    let forged = AuditRecord { status: 500, ..old[2].clone() };
    let new = AuditRecord { sequence: 2101, ..personal(2101, "zoë") };
    let outcome = store.ingest(gateway("a"), batch(&[old[1].clone(), forged, new.clone()], 0)).await.unwrap();
    assert_eq!((outcome.ack.stored, outcome.ack.duplicates), (1, 2));
    assert_eq!(store.audit_status().await.unwrap().conflicts, 1);
    let row = rows(&store, query(2100)).await.remove(0);
    assert_eq!((row.index, &row.record), (2101, &new));
    assert_eq!(LogEntry::decode(&row.entry.unwrap()).unwrap().index, 2101);
    store.erase_subject(&ZOE, action("/v1/audit/erasures")).await.unwrap();
    assert!(of_subject(&store, "zoë").await.is_empty(), "old records, too");
    let left = world.sql(|connection| connection.batch("SELECT 1 FROM audit_record_before").is_err());
    assert!(left.await, "the old table is gone");
    store.close().await;
    drop(store);
    assert!(!contains(&world.files(), "/people/zoë"), "and so is what was in it");
    assert_eq!(world.store().await.audit_status().await.unwrap().committed_from, 2101);
}
