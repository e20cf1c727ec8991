//! The messages stand on the wire as they always did.

use portcullis_protocol::audit::hex;
use portcullis_protocol::tags;
use portcullis_protocol::wire::{
    ApiKey, AuditAck, AuditBatch, AuditRecord, Cluster, IdentitySigner, IntrospectionAnswer,
    IntrospectionRequest, KeyRefresh, Page, Record, RecordKind, SignedMessage,
};
use prost::Message;

/// What [`samples`] are on the wire, written down from the types that were kept by hand before the
/// `.proto` files were published.
const GOLDEN: [(&str, &str); 12] = [
    (
        "Page",
        "08011202abab1a07676174657761792202cdcd28ac02300138014201634a10080b12036b65791a05\
         76616c756520014a0050fba0f1c2b134",
    ),
    ("Record", "080b12036b65791a0576616c75652001"),
    ("Cluster", "0a0461636d651002"),
    ("ApiKey", "0a026b31120461636d651a03616e6e2206776f726b65722a0272312a0272323201733880a4a7da06"),
    ("IdentitySigner", "0a026b311204070707071a0968747470733a2f2f69203c"),
    ("IntrospectionRequest", "0a0201011201701a046f705f782204c0000201"),
    ("IntrospectionAnswer", "0a020101120170180122027b7d"),
    ("KeyRefresh", "0a0968747470733a2f2f6912026b39"),
    ("SignedMessage", "0a016d1203090909"),
    ("AuditBatch", "0a036f6e650a0012020505188101"),
    ("AuditAck", "0801100218ac02"),
    (
        "AuditRecord",
        "0a02050510ac0218fba0f1c2b134220267772a01723204346266393a067265667573654205617574\
         686e4a0377687950910358808080808020600c6a03616e6e720461636d657a096d63705f6167656e\
         748201036a77748a01026b31920102613192010261329a010163a20103474554aa01022f70b2010b\
         3139322e302e322e313a31b80117c00118ca0107656e666f726365d2010767617465776179da010b\
         68747470733a2f2f696470",
    ),
];

/// A message of each kind with a value in every field.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let record = Record {
        kind: RecordKind::ApiKey.into(),
        key: b"key".to_vec(),
        value: b"value".to_vec(),
        removed: true,
    };
    let page = Page {
        format: 1,
        nonce: vec![0xab; 2],
        view: "gateway".into(),
        generation: vec![0xcd; 2],
        revision: 300,
        reset: true,
        more: true,
        cursor: b"c".to_vec(),
        records: vec![record.clone(), Record::default()],
        issued_at_ms: 1_800_000_000_123,
    };
    let api_key = ApiKey {
        id: "k1".into(),
        tenant: "acme".into(),
        subject: "ann".into(),
        source_type: "worker".into(),
        roles: vec!["r1".into(), "r2".into()],
        scopes: vec!["s".into()],
        expires_at: 1_800_000_000,
    };
    let signer =
        IdentitySigner { key_id: "k1".into(), seed: vec![7; 4], issuer: "https://i".into(), lifetime_s: 60 };
    let question = IntrospectionRequest {
        nonce: vec![1; 2],
        provider: "p".into(),
        token: "op_x".into(),
        source: vec![192, 0, 2, 1],
    };
    let answer =
        IntrospectionAnswer { nonce: vec![1; 2], provider: "p".into(), active: true, claims: b"{}".to_vec() };
    let refresh = KeyRefresh { issuer: "https://i".into(), key_id: "k9".into() };
    let signed = SignedMessage { message: b"m".to_vec(), signature: vec![9; 3] };
    let batch = AuditBatch { records: vec![b"one".to_vec(), vec![]], stream: vec![5; 2], settled: 129 };
    let ack = AuditAck { stored: 1, duplicates: 2, rejected: 300 };
    vec![
        ("Page", page.encode_to_vec()),
        ("Record", record.encode_to_vec()),
        ("Cluster", Cluster { tenant: "acme".into(), state: 2 }.encode_to_vec()),
        ("ApiKey", api_key.encode_to_vec()),
        ("IdentitySigner", signer.encode_to_vec()),
        ("IntrospectionRequest", question.encode_to_vec()),
        ("IntrospectionAnswer", answer.encode_to_vec()),
        ("KeyRefresh", refresh.encode_to_vec()),
        ("SignedMessage", signed.encode_to_vec()),
        ("AuditBatch", batch.encode_to_vec()),
        ("AuditAck", ack.encode_to_vec()),
        ("AuditRecord", audit_record().encode_to_vec()),
    ]
}

fn audit_record() -> AuditRecord {
    AuditRecord {
        stream: vec![5; 2],
        sequence: 300,
        time_ms: 1_800_000_000_123,
        proxy: "gw".into(),
        request_id: "r".into(),
        trace_id: "4bf9".into(),
        decision: "refuse".into(),
        stage: "authn".into(),
        reason: "why".into(),
        status: 401,
        response_flags: 1 << 40,
        duration_us: 12,
        subject: "ann".into(),
        tenant: "acme".into(),
        source_type: "mcp_agent".into(),
        credential: "jwt".into(),
        key_id: "k1".into(),
        actors: vec!["a1".into(), "a2".into()],
        cluster: "c".into(),
        method: "GET".into(),
        path: "/p".into(),
        client_address: "192.0.2.1:1".into(),
        request_bytes: 23,
        response_bytes: 24,
        mode: "enforce".into(),
        hop: "gateway".into(),
        issuer: "https://idp".into(),
        ..AuditRecord::default()
    }
}

#[test]
fn every_message_has_the_bytes_that_it_always_had() {
    for ((name, bytes), (expected_name, expected)) in samples().iter().zip(GOLDEN) {
        assert_eq!((*name, hex(bytes).as_str()), (expected_name, expected));
    }
    assert_eq!(samples().len(), GOLDEN.len());
}

#[test]
fn every_message_reads_what_was_always_written() {
    let (_, golden) = GOLDEN.into_iter().find(|(name, _)| *name == "AuditRecord").unwrap();
    let bytes = portcullis_protocol::audit::unhex(golden).unwrap();
    assert_eq!(AuditRecord::decode(bytes.as_slice()), Ok(audit_record()));
}

#[test]
fn kinds_keep_their_numbers() {
    let kinds = [
        (RecordKind::Unspecified, 0),
        (RecordKind::Issuer, 1),
        (RecordKind::SourceRules, 2),
        (RecordKind::Introspection, 3),
        (RecordKind::Workloads, 4),
        (RecordKind::Resources, 5),
        (RecordKind::Cluster, 10),
        (RecordKind::ApiKey, 11),
        (RecordKind::Revocation, 12),
        (RecordKind::RevocationDigest, 13),
        (RecordKind::IdentityKey, 20),
        (RecordKind::IdentitySigner, 21),
        (RecordKind::ApiKeyPepper, 22),
        (RecordKind::IssuerSecret, 23),
    ];
    for (kind, number) in kinds {
        assert_eq!(i32::from(kind), number, "{kind:?}");
    }
    let known = (0..1000).filter(|number| RecordKind::try_from(*number).is_ok()).count();
    assert_eq!(known, kinds.len());
}

#[test]
fn numbers_of_fields_are_those_of_the_messages() {
    let batch = AuditBatch { settled: 1, ..AuditBatch::default() }.encode_to_vec();
    assert_eq!(u32::from(batch[0] >> 3), tags::audit_batch::SETTLED);
    let record = AuditRecord { mode: "m".into(), ..AuditRecord::default() }.encode_to_vec();
    assert_eq!(tags::audit_record::MODE, 25);
    // 25 with wire type 2, as a varint.
    assert_eq!(&record[..2], [0xca, 0x01]);
}
