use portcullis_model::state::SnapshotState;
use portcullis_protocol::snapshot::{public_key, sign_page, verify_page};
use portcullis_protocol::wire::{Page, Record, RecordKind, SNAPSHOT_FORMAT};

use super::*;
use crate::worker::MAX_AT_ONCE;

const SEED: [u8; 32] = [1; 32];

/// A snapshot to which records are published one after the other.
struct Published {
    state: SnapshotState,
    revision: u64,
}

impl Published {
    fn new() -> Self {
        let mut published = Self { state: SnapshotState::default(), revision: 0 };
        published.page(true, vec![]);
        published
    }

    fn page(&mut self, reset: bool, records: Vec<Record>) {
        self.revision += 1;
        let page = Page {
            format: SNAPSHOT_FORMAT,
            nonce: vec![0; 16],
            view: "gateway".into(),
            generation: vec![9; 16],
            revision: self.revision,
            reset,
            records,
            ..Page::default()
        };
        let signed = sign_page(&page, SEED);
        let page = verify_page(&signed, &public_key(SEED), &[0; 16], "gateway").unwrap();
        self.state.apply(page).unwrap();
    }

    fn revoke(&mut self, name: &str) {
        let kind = RecordKind::Revocation.into();
        let record = Record { kind, key: name.as_bytes().to_vec(), value: vec![], removed: false };
        self.page(false, vec![record]);
    }
}

fn revocation(name: &str) -> Ground {
    Ground::Revocation(name.into())
}

fn key(number: u64) -> StreamKey {
    StreamKey(number)
}

/// A stream of plugin 1 that stands on these revocations.
fn lasting(open: &mut OpenStreams, number: u64, names: &[&str], until_ms: Option<u64>) -> OpenId {
    let id = open.begin(1, key(number), true, 0);
    open.take_due(1, 0, MAX_AT_ONCE);
    let policy = names.iter().map(|name| revocation(name)).collect();
    open.keep(id, &Grounds { policy, until_ms });
    id
}

fn due(open: &mut OpenStreams, published: &Published, now_ms: u64) -> Vec<u64> {
    open.tick(published.state.changes(), now_ms);
    open.take_due(1, now_ms, MAX_AT_ONCE).into_iter().map(|stream| stream.0).collect()
}

#[test]
fn a_request_that_stays_open_is_looked_at_and_a_short_one_is_not() {
    let (mut open, published) = (OpenStreams::default(), Published::new());
    due(&mut open, &published, 0);
    let short = open.begin(1, key(1), false, 0);
    open.begin(1, key(2), false, 0);
    open.begin(1, key(3), true, 0);
    assert_eq!(due(&mut open, &published, 50), vec![3], "known to last");
    open.end(short);
    assert_eq!(due(&mut open, &published, YOUNG_MS - 1), Vec::<u64>::new());
    assert_eq!(due(&mut open, &published, YOUNG_MS), vec![2]);
    assert_eq!(due(&mut open, &published, YOUNG_MS * 10), Vec::<u64>::new(), "once");
    // Whoever has the slot next is somebody else.
    let again = open.begin(1, key(4), false, YOUNG_MS * 10);
    assert_eq!(again, short);
    assert_eq!(due(&mut open, &published, YOUNG_MS * 10 + 1), Vec::<u64>::new());
}

#[test]
fn a_change_concerns_the_streams_that_stand_on_it_and_no_others() {
    let (mut open, mut published) = (OpenStreams::default(), Published::new());
    due(&mut open, &published, 0);
    let ann = lasting(&mut open, 1, &["sub:ann", "sid:1"], None);
    lasting(&mut open, 2, &["sub:bob", "sid:2"], None);
    published.revoke("sub:eve");
    assert_eq!(due(&mut open, &published, 1), Vec::<u64>::new());
    published.revoke("sub:ann");
    assert_eq!(due(&mut open, &published, 2), vec![1]);
    assert_eq!(due(&mut open, &published, 3), Vec::<u64>::new());
    published.revoke("sid:2");
    open.end(ann);
    published.revoke("sid:1");
    assert_eq!(due(&mut open, &published, 4), vec![2]);
    assert_eq!((open.by_ground.len(), open.len()), (2, 1), "what is over leaves nothing");
}

#[test]
fn a_resync_concerns_everybody_once() {
    let (mut open, mut published) = (OpenStreams::default(), Published::new());
    due(&mut open, &published, 0);
    lasting(&mut open, 1, &["sub:ann"], None);
    published.page(true, vec![]);
    assert_eq!(due(&mut open, &published, 1), vec![1]);
    assert_eq!(due(&mut open, &published, 2), Vec::<u64>::new());
}

#[test]
fn a_stream_is_looked_at_when_its_time_has_come() {
    let (mut open, published) = (OpenStreams::default(), Published::new());
    due(&mut open, &published, 0);
    let id = lasting(&mut open, 1, &[], Some(700));
    assert_eq!(due(&mut open, &published, 699), Vec::<u64>::new());
    assert_eq!(due(&mut open, &published, 700), vec![1]);
    open.postpone(id, 900);
    assert_eq!((due(&mut open, &published, 899), due(&mut open, &published, 900)), (vec![], vec![1]));
    open.keep(id, &Grounds { policy: vec![], until_ms: Some(1_000) });
    open.end(id);
    assert_eq!(due(&mut open, &published, 2_000), Vec::<u64>::new());
}

#[test]
fn streams_of_a_plugin_that_is_gone_are_looked_after_by_another() {
    let (mut open, published) = (OpenStreams::default(), Published::new());
    due(&mut open, &published, 0);
    open.take_due(2, 0, MAX_AT_ONCE);
    let id = open.begin(2, key(7), true, 0);
    assert_eq!(due(&mut open, &published, 10), Vec::<u64>::new(), "its own plugin does");
    assert_eq!(due(&mut open, &published, GONE_MS), vec![7]);
    open.end(id);
}

#[test]
fn many_are_looked_at_bit_by_bit() {
    let (mut open, mut published) = (OpenStreams::default(), Published::new());
    due(&mut open, &published, 0);
    for number in 0..700 {
        lasting(&mut open, number, &["sub:ann"], None);
    }
    published.revoke("sub:ann");
    let sizes: Vec<usize> = (1..=4).map(|ms| due(&mut open, &published, ms).len()).collect();
    assert_eq!(sizes, [250, 250, 200, 0]);
}
