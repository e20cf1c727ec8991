//! Pages of the snapshot, changed and then signed: whatever a control service says, a reader keeps its promises, and
//! what is not signed is nothing.

use portcullis_model::state::SnapshotState;
use portcullis_protocol::snapshot::{PageError, public_key, sign_page, verify_page};
use portcullis_protocol::wire::{Page, Record, RecordKind, SNAPSHOT_FORMAT};
use prost::Message;
use serde_json::json;

use crate::input::Input;
use crate::tokens::{AUDIENCE, ISSUER};

const NONCE: &[u8] = &[7; 16];
const SEED: [u8; 32] = [1; 32];

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut state = SnapshotState::default();
    for _ in 0..=input.byte() % 4 {
        let page = page(&mut input);
        let bytes = sign_page(&page, SEED);
        unsigned(&mut input, &bytes);
        let verified = verify_page(&bytes, &public_key(SEED), NONCE, "gateway");
        let expected = page.format == SNAPSHOT_FORMAT && page.view == "gateway" && page.nonce == NONCE;
        assert_eq!(verified.is_ok(), expected);
        let Ok(verified) = verified else { continue };
        let (generation, revision) = (state.generation().to_vec(), state.revision());
        match state.apply(verified.clone()) {
            Ok(_) => {
                assert!(page.generation != generation || page.revision >= revision);
                assert_eq!((state.generation(), state.revision()), (&page.generation[..], page.revision));
                removed(&state, &page);
                // The same page again changes nothing but the number of looks.
                let before = (state.cluster_count(), state.api_key_count(), state.issuers().count());
                assert!(state.apply(verified).is_ok());
                assert_eq!((state.cluster_count(), state.api_key_count(), state.issuers().count()), before);
            }
            Err(PageError::Backwards { .. }) => assert!(page.revision < revision),
            Err(_) => assert!(!page.reset),
        }
    }
}

/// What the last word on an entry removes is not there.
fn removed(state: &SnapshotState, page: &Page) {
    for (at, record) in page.records.iter().enumerate() {
        let last = !page.records[at + 1..]
            .iter()
            .any(|later| (later.kind, &later.key) == (record.kind, &record.key));
        let Ok(name) = std::str::from_utf8(&record.key) else { continue };
        if last && record.removed {
            match RecordKind::try_from(record.kind) {
                Ok(RecordKind::Issuer) => assert!(state.issuer(name).is_none()),
                Ok(RecordKind::Revocation) => assert!(!state.is_revoked(name)),
                Ok(RecordKind::IdentityKey) => assert!(state.identity_key(name).is_none()),
                _ => {}
            }
        } else if last && record.kind == i32::from(RecordKind::Revocation) {
            assert!(state.is_revoked(name), "a revocation is never lost");
        }
    }
}

fn unsigned(input: &mut Input<'_>, bytes: &[u8]) {
    let mut bent = bytes.to_vec();
    let at = (usize::from(input.byte()) << 8 | usize::from(input.byte())) % bent.len();
    bent[at] ^= input.byte() | 1;
    if let Ok(taken) = verify_page(&bent, &public_key(SEED), NONCE, "gateway") {
        // Protobuf has several spellings; what they say is what was signed.
        assert_eq!(Ok(taken), verify_page(bytes, &public_key(SEED), NONCE, "gateway"));
    }
}

fn page(input: &mut Input<'_>) -> Page {
    if input.byte() % 8 == 7 {
        let raw = input.bytes(255);
        if let Ok(page) = Page::decode(raw) {
            return Page { format: SNAPSHOT_FORMAT, view: "gateway".into(), nonce: NONCE.to_vec(), ..page };
        }
    }
    Page {
        format: if input.byte() == 255 { 0 } else { SNAPSHOT_FORMAT },
        view: input.pick(&["gateway", "gateway", "gateway", "public:acme"]).into(),
        nonce: if input.byte() == 255 { vec![] } else { NONCE.to_vec() },
        generation: vec![input.byte() % 2; 16],
        revision: u64::from(input.byte()),
        reset: input.flag(),
        cursor: if input.byte().is_multiple_of(4) { vec![1] } else { Vec::new() },
        more: input.byte().is_multiple_of(4),
        records: (0..input.byte() % 6).map(|_| record(input)).collect(),
        ..Page::default()
    }
}

fn record(input: &mut Input<'_>) -> Record {
    const KEYS: &[&str] = &[ISSUER, "acme-1", "sub:ann", "k1", ""];
    let issuer =
        json!({"issuer": ISSUER, "audiences": [AUDIENCE], "algorithms": ["EdDSA"], "jwks": {"keys": []}});
    Record {
        kind: i32::from(input.byte() % 16),
        key: input.word(KEYS).into_bytes(),
        value: if input.flag() { input.bytes(64).to_vec() } else { issuer.to_string().into_bytes() },
        removed: input.flag(),
    }
}
