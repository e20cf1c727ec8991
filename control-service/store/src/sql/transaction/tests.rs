use std::collections::BTreeMap;

use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_control_snapshot::{Ask, View};
use portcullis_protocol::snapshot::MAX_VALUE;

use super::*;
use crate::StoreError;
use crate::sql::{schema, snapshot};

pub(crate) fn database() -> Connection {
    let connection = Connection::sqlite(rusqlite::Connection::open_in_memory().unwrap());
    schema::migrate(&connection).unwrap();
    connection
}

pub(crate) fn sealing() -> SealingKey {
    let folder = tempfile::tempdir().unwrap();
    let file = SealingKeySource::File(folder.path().join("sealing.key"));
    SealingKey::load(&file, true).unwrap()
}

fn write<T>(
    connection: &Connection,
    job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
) -> Published {
    let (sealing, recorder) = (sealing(), Recorder::with(&[1; 32]));
    let mut transaction = Transaction::begin(connection, &sealing, &recorder).unwrap();
    job(&mut transaction).unwrap();
    transaction.commit().unwrap()
}

#[test]
fn a_failed_job_leaves_nothing_and_hurts_no_other_of_its_group() {
    let connection = database();
    let published = write(&connection, |transaction| {
        transaction.nested(|t| t.publish(&Edit::put(RecordKind::Revocation, b"sub:a", Vec::new())))?;
        let failed = transaction.nested(|t| {
            t.publish(&Edit::put(RecordKind::Revocation, b"sub:b", Vec::new()))?;
            Err::<(), _>(Failure::database("full"))
        });
        assert!(failed.is_err());
        transaction.nested(|t| t.publish(&Edit::put(RecordKind::Revocation, b"sub:c", Vec::new())))
    });
    let seen: Vec<_> = published.changes.iter().map(|c| (&*c.key, c.revision)).collect();
    assert_eq!(seen, [(&b"sub:a"[..], 1), (b"sub:c", 2)]);
    let stored: u64 =
        connection.query_one("SELECT count(*) FROM snapshot_entry", params![], |row| row.get(0)).unwrap();
    assert_eq!((stored, life(&connection).unwrap().revision), (2, 2));
}

/// SQLite takes back a whole transaction when the disk is full, so that the next statement stands in none.
#[test]
fn a_group_that_the_database_took_back_keeps_nothing_of_the_jobs_after_it() {
    let connection = database();
    let put = |key: &str, bytes| Edit::put(RecordKind::Issuer, key.as_bytes(), vec![b'x'; bytes]);
    write(&connection, |transaction| transaction.publish(&put("before", 1)));
    let pages: i64 = connection.query_one("PRAGMA page_count", params![], |row| row.get(0)).unwrap();
    connection.batch(&format!("PRAGMA max_page_count = {}", pages + 2)).unwrap();
    let (sealing, recorder) = (sealing(), Recorder::with(&[1; 32]));
    let mut transaction = Transaction::begin(&connection, &sealing, &recorder).unwrap();
    transaction.nested(|t| t.publish(&put("first", 1))).unwrap();
    let full = transaction.nested(|t| t.publish(&put("great", 100_000))).unwrap_err();
    assert!(matches!(full.0, StoreError::OutOfOrder(_)) && transaction.outage().is_some(), "{full}");
    let late = transaction.nested(|t| t.publish(&put("late", 1)));
    let committed = transaction.commit();
    let kept = connection.query("SELECT key FROM snapshot_entry", params![], |row| row.get::<Vec<u8>>(0));
    assert_eq!(kept.unwrap(), [b"before".to_vec()]);
    assert!(late.is_err() && committed.is_err(), "{late:?}");
    assert_eq!(life(&connection).unwrap().revision, 1);
}

/// Alone on a page, it would stop everything behind it.
#[test]
fn an_entry_that_no_filter_could_read_is_not_published() {
    let connection = database();
    let published = write(&connection, |transaction| {
        let most = vec![b'x'; MAX_VALUE];
        transaction.publish(&Edit::put(RecordKind::SourceRules, b"", most.clone()))?;
        let more = [&most[..], b"x"].concat();
        let refused = transaction.nested(|t| t.publish(&Edit::put(RecordKind::SourceRules, b"", more)));
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("SourceRules") && told.contains("245761 bytes"), "{told}");
        transaction.publish(&Edit::put(RecordKind::Revocation, b"sub:a", Vec::new()))
    });
    assert_eq!(published.changes.iter().map(|c| c.revision).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_dropped_transaction_leaves_nothing() {
    let (connection, sealing, recorder) = (database(), sealing(), Recorder::with(&[1; 32]));
    let mut transaction = Transaction::begin(&connection, &sealing, &recorder).unwrap();
    transaction.publish(&Edit::put(RecordKind::Revocation, b"sub:a", Vec::new())).unwrap();
    drop(transaction);
    assert_eq!(life(&connection).unwrap().revision, 0);
    connection.begin().unwrap();
}

#[test]
fn only_what_differs_gets_a_new_revision() {
    let connection = database();
    let entry = |k: &str, v: &str| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
    let first = BTreeMap::from([entry("a", "1"), entry("b", "1"), entry("c", "1")]);
    assert_eq!(write(&connection, |t| t.sync(RecordKind::Issuer, &first)).changes.len(), 3);
    assert_eq!(write(&connection, |t| t.sync(RecordKind::Issuer, &first)).changes, []);
    let second = BTreeMap::from([entry("a", "1"), entry("b", "2")]);
    let changes = write(&connection, |t| t.sync(RecordKind::Issuer, &second)).changes;
    let seen: Vec<_> = changes.iter().map(|c| (&*c.key, c.value.is_some())).collect();
    assert_eq!(seen, [(&b"b"[..], true), (b"c", false)]);
}

#[test]
fn old_tombstones_are_forgotten_in_the_database_and_in_memory_alike() {
    let connection = database();
    let published = write(&connection, |transaction| {
        for n in 0..=MAX_TOMBSTONES + COUNT_EVERY {
            transaction.publish(&Edit::remove(RecordKind::Revocation, &n.to_be_bytes()))?;
        }
        Ok(())
    });
    let life = life(&connection).unwrap();
    assert!(published.floor > 0 && published.floor == life.floor);
    let left: u64 =
        connection.query_one("SELECT count(*) FROM snapshot_entry", params![], |row| row.get(0)).unwrap();
    assert!(left < MAX_TOMBSTONES, "{left}");
    let state = snapshot::load_state(&connection, &sealing()).unwrap();
    let ask = |revision| Ask {
        view: View::Gateway,
        generation: life.generation.to_vec(),
        revision,
        cursor: Vec::new(),
    };
    assert!(state.answer(&ask(life.floor - 1)).0.reset);
    assert!(!state.answer(&ask(life.floor)).0.reset);
}
