//! The audit log: each record once, gaps known, nothing changed afterwards.

use portcullis_control_domain::api_key::NewApiKey;
use portcullis_control_domain::audit::{DecisionName, Hop, RecordQuery, RejectReason, Sender};
use portcullis_control_domain::caller::Reach;
use portcullis_identity::SourceType;
use portcullis_identity::ids::SpiffeId;
use portcullis_protocol::wire::{AuditBatch, AuditRecord};
use prost::Message;

use crate::on_both;
use crate::world::{World, action};

on_both! {
    a_record_is_stored_once_and_gaps_are_known,
    records_are_found_by_what_they_say,
    what_a_sender_may_not_say_is_counted,
    the_use_of_a_key_is_written_down,
    a_record_with_a_zero_byte_keeps_no_other_from_being_stored,
}

pub(crate) fn record(sequence: u64) -> AuditRecord {
    AuditRecord {
        stream: vec![1; 16],
        sequence,
        time_ms: 1_000 + sequence,
        proxy: "router~1".to_owned(),
        hop: "gateway".to_owned(),
        decision: "allow".to_owned(),
        request_id: ["request-", &sequence.to_string()].concat(),
        subject: "zoë".to_owned(),
        cluster: "orders".to_owned(),
        tenant: "acme".to_owned(),
        ..AuditRecord::default()
    }
}

pub(crate) fn batch(records: &[AuditRecord], settled: u64) -> AuditBatch {
    AuditBatch { records: records.iter().map(Message::encode_to_vec).collect(), stream: vec![1; 16], settled }
}

pub(crate) fn gateway(name: &str) -> Sender {
    Sender::gateway(&SpiffeId::new(&["spiffe://cluster.local/ns/gateway/sa/", name].concat()).unwrap())
}

async fn a_record_is_stored_once_and_gaps_are_known(world: World) {
    let store = world.store().await;
    let own = store.audit_status().await.unwrap().total;
    let first = store.ingest(gateway("a"), batch(&[record(1), record(2), record(5)], 7)).await.unwrap();
    assert_eq!((first.ack.stored, first.ack.duplicates, first.ack.rejected), (3, 0, 0));
    let other = AuditRecord { subject: "mallory".to_owned(), ..record(2) };
    let again = store.ingest(gateway("a"), batch(&[record(1), other, record(6)], 7)).await.unwrap();
    assert_eq!((again.ack.stored, again.ack.duplicates), (1, 2));
    let status = store.audit_status().await.unwrap();
    assert_eq!((status.total, status.missing, status.duplicates, status.conflicts), (own + 4, 3, 2, 1));
    assert_eq!((status.gateways_missing, status.sidecars_missing), (3, 0));
    let stream = status.streams.iter().find(|stream| stream.proxy == "router~1").unwrap();
    assert_eq!((stream.stored, stream.highest, &*stream.gaps), (4, 7, &[[3, 4], [7, 7]][..]));
    let (rows, _) = store
        .records(RecordQuery { reach: Reach::Platform, limit: 100, ..RecordQuery::default() })
        .await
        .unwrap();
    let indexes: Vec<_> = rows.iter().map(|row| row.index).collect();
    assert_eq!(indexes, (1..=own + 4).collect::<Vec<_>>(), "no index is left out");
    assert!(rows.iter().any(|row| row.record == record(2)), "the first one stands");
}

async fn records_are_found_by_what_they_say(world: World) {
    let store = world.store().await;
    let refused = AuditRecord { decision: "refuse".to_owned(), subject: String::new(), ..record(4) };
    store.ingest(gateway("a"), batch(&[record(1), record(2), record(3), refused], 0)).await.unwrap();
    let found = async |query: RecordQuery| {
        let (rows, next) = store.records(query).await.unwrap();
        (rows.iter().map(|row| row.record.sequence).collect::<Vec<_>>(), next.is_some())
    };
    let any = || RecordQuery {
        reach: Reach::Platform,
        hop: Some(Hop::Gateway),
        limit: 9,
        ..RecordQuery::default()
    };
    assert_eq!(found(any()).await, (vec![1, 2, 3, 4], false));
    let by_request = RecordQuery { request_id: Some("request-2".to_owned()), ..any() };
    assert_eq!(found(by_request).await, (vec![2], false));
    let by_subject = RecordQuery {
        reach: Reach::Platform,
        subject: Some("zoë".to_owned()),
        limit: 2,
        ..RecordQuery::default()
    };
    assert_eq!(found(by_subject).await, (vec![1, 2], true));
    let by_cluster =
        RecordQuery { cluster: Some("orders".to_owned()), decision: Some(DecisionName::Refuse), ..any() };
    assert_eq!(found(by_cluster).await, (vec![4], false));
    let nothing = RecordQuery { subject: Some("nobody".to_owned()), ..any() };
    assert_eq!(found(nothing).await, (Vec::new(), false));
    let principal = store.records(RecordQuery { limit: 1, ..any() }).await.unwrap().0.remove(0).principal;
    assert_eq!(principal, "spiffe://cluster.local/ns/gateway/sa/a");
}

async fn what_a_sender_may_not_say_is_counted(world: World) {
    let store = world.store().await;
    store.ingest(gateway("a"), batch(&[record(1)], 0)).await.unwrap();
    let other = store.ingest(gateway("b"), batch(&[record(2)], 0)).await.unwrap();
    assert_eq!(other.refusals.get(&RejectReason::Stream), Some(&1));
    let unreadable = AuditBatch { records: vec![vec![255; 9]], ..batch(&[], 0) };
    store.ingest(gateway("a"), unreadable).await.unwrap();
    let sidecar_id = SpiffeId::new("spiffe://cluster.local/ns/data/sa/api").unwrap();
    let sidecar = Sender::sidecar(&sidecar_id, ["orders".parse().unwrap()]);
    let forged = AuditRecord { stream: vec![2; 16], ..record(1) };
    store.ingest(sidecar, batch(&[forged], 0)).await.unwrap();
    let status = store.audit_status().await.unwrap();
    assert_eq!((status.rejected, status.gateways_rejected, status.sidecars_rejected), (3, 2, 1));
    assert_eq!(status.lost, status.missing + 3);
}

async fn the_use_of_a_key_is_written_down(world: World) {
    let store = world.store().await;
    let new = NewApiKey {
        tenant: "acme".parse().unwrap(),
        subject: "job".parse().unwrap(),
        source_type: SourceType::Worker,
        roles: Vec::new(),
        scopes: Vec::new(),
        expires_at_s: None,
    };
    let (key, _, _) = store.create_api_key(new, &[7; 32], action("/v1/keys")).await.unwrap();
    let used = AuditRecord { credential: "api_key".to_owned(), key_id: key.id.clone(), ..record(1) };
    // Ids that no key has keep no other from being written, whatever they are and however many there are.
    let others = (2..1_200).map(|n| AuditRecord { key_id: format!("{n}\0\"'"), sequence: n, ..used.clone() });
    let records: Vec<_> = others.chain([used.clone()]).collect();
    store.ingest(gateway("a"), batch(&records, 0)).await.unwrap();
    store.write_usage().await.unwrap();
    let keys = store.api_keys(Reach::Platform, None, String::new(), 9).await.unwrap();
    assert_eq!(keys.items.first().and_then(|key| key.last_used_at_ms), Some(1_001));
}

async fn a_record_with_a_zero_byte_keeps_no_other_from_being_stored(world: World) {
    let store = world.store().await;
    let odd = AuditRecord {
        subject: "a\0b".to_owned(),
        request_id: "\0".to_owned(),
        cluster: (0..4000_u32).map(|n| char::from_u32(0x100 + n * 7919 % 40_000).unwrap_or('x')).collect(),
        proxy: "\0".to_owned(),
        ..record(1)
    };
    let outcome = store.ingest(gateway("a"), batch(&[odd.clone(), record(2)], 0)).await.unwrap();
    assert_eq!(outcome.ack.stored, 2);
    let query =
        RecordQuery { reach: Reach::Platform, hop: Some(Hop::Gateway), limit: 9, ..RecordQuery::default() };
    let (rows, _) = store.records(query).await.unwrap();
    assert_eq!(rows.first().map(|row| &row.record), Some(&odd), "it is kept as it came");
}
