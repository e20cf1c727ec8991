//! What 10,000 open streams cost a worker: `cargo run --release -p portcullis-engine --example open_streams`.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measurement that fails says so and ends")]

use std::time::Instant;

use portcullis_engine::open::{Grounds, OpenStreams};
use portcullis_engine::port::StreamKey;
use portcullis_engine::worker::MAX_AT_ONCE;
use portcullis_model::state::{Ground, SnapshotState};
use portcullis_protocol::snapshot::{public_key, sign_page, verify_page};
use portcullis_protocol::wire::{Page, Record, RecordKind, SNAPSHOT_FORMAT};

/// Open streams, and the grounds of each: of its own, and one that all share.
const STREAMS: u64 = 10_000;
const OWN: u64 = 9;

/// Ticks without news that are averaged.
const TICKS: u64 = 1_000;

fn publish(snapshot: &mut SnapshotState, revoked: &str) {
    const SEED: [u8; 32] = [1; 32];
    let kind = RecordKind::Revocation.into();
    let records = vec![Record { kind, key: revoked.as_bytes().to_vec(), value: Vec::new(), removed: false }];
    let page = Page {
        format: SNAPSHOT_FORMAT,
        nonce: vec![0; 16],
        view: "gateway".into(),
        generation: vec![9; 16],
        revision: snapshot.revision() + 1,
        reset: snapshot.revision() == 0,
        records,
        ..Page::default()
    };
    let page = verify_page(&sign_page(&page, SEED), &public_key(SEED), &[0; 16], "gateway");
    snapshot.apply(page.expect("a page of ours")).expect("the next revision");
}

fn open_all(open: &mut OpenStreams) {
    for number in 0..STREAMS {
        let own = (0..OWN).map(|kind| Ground::Revocation(format!("{kind}:{number}").into()));
        let policy = own.chain([Ground::Revocation("shared".into())]).collect();
        let id = open.begin(1, StreamKey(number), true, 0);
        open.keep(id, &Grounds { policy, until_ms: Some(u64::MAX - number) });
    }
    while !open.take_due(1, 0, MAX_AT_ONCE).is_empty() {}
}

fn main() {
    let (mut open, mut snapshot) = (OpenStreams::default(), SnapshotState::default());
    publish(&mut snapshot, "nobody");
    open.tick(snapshot.changes(), 0);
    let begun = Instant::now();
    open_all(&mut open);
    println!("to enter one: {} ns", begun.elapsed().as_nanos() / u128::from(STREAMS));
    let begun = Instant::now();
    (0..TICKS).for_each(|ms| open.tick(snapshot.changes(), ms));
    println!("a tick without news: {} ns", begun.elapsed().as_nanos() / u128::from(TICKS));
    for (what, revoked) in [("one", "3:77"), ("all", "shared")] {
        publish(&mut snapshot, revoked);
        let begun = Instant::now();
        open.tick(snapshot.changes(), TICKS);
        println!("a tick whose news concern {what}: {} ns", begun.elapsed().as_nanos());
        let begun = Instant::now();
        let taken = open.take_due(1, TICKS, MAX_AT_ONCE).len();
        println!("to take out {taken}: {} ns", begun.elapsed().as_nanos());
    }
}
