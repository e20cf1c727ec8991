//! A reader's copy of the snapshot through resyncs, deltas and entries that cannot be read.

use portcullis_identity::ids::ClusterId;
use portcullis_model::decision::ClusterState;
use portcullis_model::state::{Applied, SnapshotState};
use portcullis_protocol::snapshot::{PageError, public_key, revocation_digest, sign_page, verify_page};
use portcullis_protocol::wire::{self, Page, Record, RecordKind, SNAPSHOT_FORMAT};
use prost::Message;

/// One snapshot can be shared among threads.
#[test]
fn a_state_can_be_sent_and_shared() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<SnapshotState>();
}

fn page(revision: u64, records: Vec<Record>) -> Page {
    Page { format: SNAPSHOT_FORMAT, generation: vec![1; 16], revision, records, ..Page::default() }
}

fn apply(state: &mut SnapshotState, page: &Page) -> Result<Applied, PageError> {
    state.apply(verify_page(&sign_page(page, [1; 32]), &public_key([1; 32]), b"", "").unwrap())
}

fn put(kind: RecordKind, key: &[u8], value: Vec<u8>) -> Record {
    Record { kind: kind.into(), key: key.to_vec(), value, removed: false }
}

fn remove(kind: RecordKind, key: &[u8]) -> Record {
    Record { removed: true, ..put(kind, key, vec![]) }
}

fn cluster(id: &str) -> Record {
    let value = wire::Cluster { tenant: "acme".into(), state: ClusterState::Online.code() };
    put(RecordKind::Cluster, id.as_bytes(), value.encode_to_vec())
}

fn api_key(digest: u8, tenant: &str) -> Record {
    let value = wire::ApiKey {
        id: "k".into(),
        tenant: tenant.into(),
        subject: "s".into(),
        source_type: "worker".into(),
        ..wire::ApiKey::default()
    };
    put(RecordKind::ApiKey, &[digest; 32], value.encode_to_vec())
}

fn has(state: &SnapshotState, id: &str) -> bool {
    state.cluster(&ClusterId::new(id).unwrap()).is_some()
}

/// A state that has clusters `a` and `b` at revision 5.
fn synced() -> SnapshotState {
    let mut state = SnapshotState::default();
    apply(&mut state, &Page { reset: true, ..page(5, vec![cluster("a"), cluster("b")]) }).unwrap();
    state
}

#[test]
fn a_revocation_is_known_by_its_name_or_by_its_digest() {
    let mut state = synced();
    assert!(!state.has_revocations());
    let digest = revocation_digest("sub:ann");
    assert!(!digest.windows(3).any(|w| w == b"ann"));
    let records = vec![
        put(RecordKind::RevocationDigest, &digest, vec![]),
        put(RecordKind::Revocation, b"sid:s", vec![]),
    ];
    assert!(apply(&mut state, &page(6, records)).unwrap().authentication_changed);
    assert!(state.has_revocations() && state.is_revoked("sub:ann") && state.is_revoked("sid:s"));
    assert!(!state.is_revoked("sub:an") && !state.is_revoked("sid:ann"));
    let short = apply(&mut state, &page(7, vec![put(RecordKind::RevocationDigest, b"x", vec![])])).unwrap();
    assert_eq!(short.unreadable.len(), 1);
    apply(&mut state, &page(8, vec![remove(RecordKind::RevocationDigest, &digest)])).unwrap();
    assert!(!state.is_revoked("sub:ann"));
    // A resync that does not bring it takes it away.
    apply(&mut state, &page(9, vec![put(RecordKind::RevocationDigest, &digest, vec![])])).unwrap();
    apply(&mut state, &Page { reset: true, ..page(10, vec![]) }).unwrap();
    assert!(!state.has_revocations());
}

#[test]
fn it_is_complete_only_after_the_last_page_and_the_delta_behind_it() {
    let mut state = SnapshotState::default();
    let first = Page { reset: true, more: true, cursor: b"a".to_vec(), ..page(5, vec![cluster("a")]) };
    apply(&mut state, &first).unwrap();
    assert!(!state.is_complete() && has(&state, "a"));
    assert_eq!(state.cursor(), b"a");
    apply(&mut state, &Page { more: true, ..page(5, vec![cluster("b")]) }).unwrap();
    assert!(!state.is_complete(), "changes since the pinned revision are still to come");
    apply(&mut state, &page(7, vec![remove(RecordKind::Cluster, b"a")])).unwrap();
    assert!(state.is_complete() && !has(&state, "a") && has(&state, "b"));
    assert_eq!((state.revision(), state.cluster_count()), (7, 1));
}

#[test]
fn a_resync_sweeps_what_no_page_touched() {
    let mut state = synced();
    let first = Page { reset: true, more: true, cursor: b"b".to_vec(), ..page(9, vec![cluster("b")]) };
    apply(&mut state, &first).unwrap();
    assert!(has(&state, "a"), "what is old stays until the resync is through");
    apply(&mut state, &page(9, vec![cluster("c")])).unwrap();
    assert!(!has(&state, "a") && has(&state, "b") && has(&state, "c"));
}

#[test]
fn a_new_generation_begins_with_a_reset() {
    let mut state = synced();
    let restored = Page { generation: vec![2; 16], ..page(1, vec![cluster("c")]) };
    assert_eq!(apply(&mut state, &restored), Err(PageError::Malformed));
    assert_eq!(state.revision(), 5);
    apply(&mut state, &Page { reset: true, ..restored }).unwrap();
    assert!(has(&state, "c") && !has(&state, "a"));
    assert_eq!(state.revision(), 1);
}

#[test]
fn a_revision_never_goes_back() {
    let mut state = synced();
    let back = page(4, vec![remove(RecordKind::Cluster, b"a")]);
    assert_eq!(apply(&mut state, &back), Err(PageError::Backwards { from: 5, to: 4 }));
    assert!(has(&state, "a"));
}

#[test]
fn an_entry_that_cannot_be_read_closes_what_it_would_have_opened() {
    let mut state = synced();
    apply(&mut state, &page(6, vec![api_key(1, "acme")])).unwrap();
    assert!(state.api_key(&[1; 32]).is_some());
    let bad = vec![
        put(RecordKind::Cluster, b"a", b"\xff".to_vec()),
        put(RecordKind::Cluster, b"b", wire::Cluster { tenant: "No".into(), state: 2 }.encode_to_vec()),
        put(RecordKind::Cluster, b"NO", vec![]),
        api_key(1, "No"),
        put(RecordKind::ApiKey, b"short", vec![]),
        put(RecordKind::Issuer, b"i", b"{}".to_vec()),
        put(RecordKind::IdentityKey, b"k", vec![1; 31]),
        put(RecordKind::IdentitySigner, b"", vec![]),
        put(RecordKind::ApiKeyPepper, b"", vec![1]),
        put(RecordKind::SourceRules, b"", b"[]".to_vec()),
    ];
    let count = bad.len();
    assert_eq!(apply(&mut state, &page(7, bad)).unwrap().unreadable.len(), count);
    assert!(!has(&state, "a") && !has(&state, "b") && state.api_key(&[1; 32]).is_none());
}

#[test]
fn kinds_of_a_newer_service_are_passed_over() {
    let mut state = synced();
    let unknown = Record { kind: 999, key: b"x".to_vec(), value: b"y".to_vec(), removed: false };
    assert_eq!(apply(&mut state, &page(6, vec![unknown])).unwrap(), Applied::default());
}

#[test]
fn only_what_can_change_a_judgement_makes_identities_be_judged_again() {
    let mut state = synced();
    let before = state.authentication_revision();
    apply(&mut state, &page(6, vec![cluster("c"), api_key(1, "acme")])).unwrap();
    assert_eq!(state.authentication_revision(), before, "a new cluster or key judges nobody differently");
    apply(&mut state, &page(6, vec![api_key(2, "acme")])).unwrap();
    for (revision, record) in [
        (7, api_key(1, "globex")),
        (8, remove(RecordKind::ApiKey, &[1; 32])),
        (9, put(RecordKind::Revocation, b"sub:x", vec![])),
        // The key is gone because its update cannot be read.
        (10, api_key(2, "No")),
    ] {
        let before = state.authentication_revision();
        apply(&mut state, &page(revision, vec![record])).unwrap();
        assert_ne!(state.authentication_revision(), before, "revision {revision}");
    }
    assert!(state.is_revoked("sub:x") && !state.is_revoked("sub:y"));
    assert!(state.api_key(&[2; 32]).is_none());
}

#[test]
fn no_debug_output_holds_a_secret() {
    // 171 and 205 stand nowhere else.
    let (pepper, seed) = ([171; 32], [205; 32]);
    let signer =
        wire::IdentitySigner { key_id: "k".into(), seed: seed.to_vec(), issuer: "i".into(), lifetime_s: 60 };
    let page = page(
        6,
        vec![
            put(RecordKind::ApiKeyPepper, b"", pepper.to_vec()),
            put(RecordKind::IdentitySigner, b"", signer.encode_to_vec()),
            put(RecordKind::IssuerSecret, b"i", pepper.to_vec()),
        ],
    );
    let page = Page { reset: true, ..page };
    let mut state = SnapshotState::default();
    apply(&mut state, &page).unwrap();
    assert!(state.pepper().is_some() && state.signer().is_some());
    let question = wire::IntrospectionRequest { token: "op_secret".into(), ..Default::default() };
    let signed = wire::SignedMessage::decode(sign_page(&page, [1; 32]).as_slice()).unwrap();
    let told = format!("{state:?} {page:?} {signer:?} {question:?} {signed:?}");
    for secret in ["171, 171", "205, 205", "op_secret"] {
        assert!(!told.contains(secret), "{told}");
    }
    assert!(told.contains("revision: 6") && told.contains("ApiKeyPepper"), "{told}");
}
