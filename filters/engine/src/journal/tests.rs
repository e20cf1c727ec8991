use std::cell::RefCell;
use std::collections::HashMap;

use portcullis_protocol::wire::AuditBatch;
use prost::Message;

use super::head::JournalHead;
use super::slots::push_number;
use super::*;
use crate::journal::batch::MAX_BATCH_BYTES;

/// The proxy's shared data.
#[derive(Default)]
struct Shared(RefCell<HashMap<String, (Vec<u8>, u32)>>);

impl Store for Shared {
    fn set(&self, key: &str, value: &[u8]) -> bool {
        let mut map = self.0.borrow_mut();
        let entry = map.entry(key.to_owned()).or_default();
        *entry = (value.to_vec(), entry.1 + 1);
        true
    }

    fn get(&self, key: &str) -> (Vec<u8>, u32) {
        self.0.borrow().get(key).cloned().unwrap_or_default()
    }

    fn swap(&self, key: &str, value: &[u8], version: u32) -> bool {
        self.get(key).1 == version && self.set(key, value)
    }
}

fn journal(id: u8, max_waiting: u32, batch: u32) -> Journal {
    Journal::new(StreamId([id; 16]), [9; 32], "gateway", AuditLimits { max_waiting, batch })
}

fn append(journal: &mut Journal, store: &Shared, text: &str) -> bool {
    let number = journal.next_number();
    journal.append(store, number, |out| out.extend_from_slice(text.as_bytes()))
}

fn batch(journal: &mut Journal, now_ms: u64) -> Vec<String> {
    whole_batch(journal, now_ms).records.into_iter().map(|r| String::from_utf8(r).unwrap()).collect()
}

fn whole_batch(journal: &mut Journal, now_ms: u64) -> AuditBatch {
    let batch = journal.next_batch(now_ms).unwrap_or_default();
    AuditBatch::decode(batch).unwrap()
}

#[test]
fn a_batch_is_kept_until_it_is_acknowledged() {
    let (store, mut journal) = (Shared::default(), journal(1, 10, 2));
    for text in ["a", "b", "c"] {
        assert!(append(&mut journal, &store, text));
    }
    assert_eq!(batch(&mut journal, 0), ["a", "b"]);
    assert!(journal.next_batch(1).is_none(), "one at a time");
    journal.answered(false, 10);
    assert!(journal.next_batch(109).is_none(), "pauses after a failure");
    assert_eq!(batch(&mut journal, 110), ["a", "b"]);
    journal.answered(true, 120);
    assert_eq!(batch(&mut journal, 120), ["c"]);
    journal.answered(true, 120);
    assert!(journal.next_batch(121).is_none());
}

#[test]
fn it_is_bounded_and_what_is_dropped_leaves_a_gap() {
    let (store, mut journal) = (Shared::default(), journal(1, 2, 10));
    assert!(append(&mut journal, &store, "1"));
    assert!(!journal.is_full());
    assert!(append(&mut journal, &store, "2"));
    assert!(journal.is_full(), "new requests are refused from here");
    assert!(
        append(&mut journal, &store, "3") && append(&mut journal, &store, "4"),
        "room for their refusals"
    );
    assert!(!append(&mut journal, &store, "5"));
    assert_eq!(batch(&mut journal, 0), ["1", "2", "3", "4"]);
    journal.answered(true, 0);
    assert!(!journal.is_full());
    assert_eq!(journal.next_number(), 6);
}

#[test]
fn a_batch_says_which_numbers_are_not_to_come() {
    let (store, mut journal) = (Shared::default(), journal(1, 2, 3));
    for text in ["1", "2", "3", "4"] {
        assert!(append(&mut journal, &store, text));
    }
    for text in ["5", "6"] {
        assert!(!append(&mut journal, &store, text), "no room for {text}");
    }
    let first = whole_batch(&mut journal, 0);
    assert_eq!((first.stream, first.settled), (vec![1; 16], 3), "4 is still to come");
    journal.answered(true, 0);
    assert_eq!(whole_batch(&mut journal, 0).settled, 6, "5 and 6 were dropped");
}

#[test]
fn what_was_recovered_survives_the_next_trap_too() {
    let store = Shared::default();
    let (mut first, mut second, mut third) = (journal(1, 10, 10), journal(2, 10, 10), journal(3, 10, 10));
    first.renew(&store, 0);
    append(&mut first, &store, "a");
    let gone = DEAD_MS + 1;
    assert_eq!(second.renew(&store, gone), 1);
    append(&mut second, &store, "b");
    // The second VM is gone as well, before it delivered anything.
    assert_eq!(third.renew(&store, 2 * gone), 2);
    let mut told = batch(&mut third, 2 * gone);
    told.sort();
    assert_eq!(told, ["a", "b"]);
}

#[test]
fn pauses_grow_to_a_bound() {
    let (store, mut journal) = (Shared::default(), journal(1, 10, 10));
    append(&mut journal, &store, "a");
    let mut now = 0;
    for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
        assert!(journal.next_batch(now).is_some());
        journal.answered(false, now);
        assert!(journal.next_batch(now + expected - 1).is_none());
        // A thousandth more, for the first byte of this stream is 1.
        now += expected + expected / 1024;
    }
}

#[test]
fn what_a_vm_left_is_recovered_by_one_other_and_delivered() {
    let store = Shared::default();
    let (mut first, mut second, mut third) = (journal(1, 3, 10), journal(2, 3, 10), journal(3, 3, 10));
    for journal in [&mut first, &mut second, &mut third] {
        assert_eq!(journal.renew(&store, 0), 0);
    }
    // Slots are used again, and what stands in them of acknowledged records is not recovered.
    for n in 1..=8 {
        append(&mut first, &store, &format!("r{n}"));
        if n % 2 == 0 && n < 8 {
            first.next_batch(0);
            first.answered(true, 0);
        }
    }
    first.renew(&store, 1_000);
    drop(first);
    for journal in [&mut second, &mut third] {
        assert_eq!(journal.renew(&store, 5_900), 0, "it may still live");
    }
    assert_eq!(second.renew(&store, 7_000), 2);
    assert_eq!(third.renew(&store, 7_000), 0);
    let mut found = batch(&mut second, 7_000);
    found.sort();
    assert_eq!(found, ["r7", "r8"]);
    second.answered(true, 7_000);
    assert!(second.next_batch(7_000).is_none());
    assert_eq!(second.renew(&store, 9_000), 0, "once is enough");
    assert!(store.0.borrow().iter().filter(|(k, _)| k.contains("0101")).all(|(_, (v, _))| v.is_empty()));
}

/// A batch that is larger than the control service takes would be sent for ever.
#[test]
fn a_batch_is_bounded_in_bytes_and_so_is_what_waits() {
    let (store, mut journal) = (Shared::default(), journal(1, 200, 500));
    let long = "x".repeat(60_000);
    let kept = (0..400).filter(|_| append(&mut journal, &store, &long)).count();
    assert!(journal.is_full());
    assert!(kept < 10, "{kept} records of 60 kB");
    let sent = journal.next_batch(0).unwrap();
    assert!(sent.len() <= MAX_BATCH_BYTES);
    journal.answered(true, 0);
    let (store, mut journal) = (Shared::default(), super::tests::journal(2, 5000, 5000));
    while append(&mut journal, &store, &"y".repeat(900)) && journal.waiting_records < 4000 {}
    assert!(journal.next_batch(0).unwrap().len() <= MAX_BATCH_BYTES);
    journal.answered(true, 0);
    assert!(journal.next_batch(0).is_some(), "the rest follows");
}

#[test]
fn few_slots_serve_many_records_and_many_are_announced_when_needed() {
    let store = Shared::default();
    let mut first = journal(1, 1000, 1000);
    first.renew(&store, 0);
    for n in 0..10_000 {
        append(&mut first, &store, "x");
        if n % 10 == 9 {
            first.next_batch(0);
            first.answered(true, 0);
        }
    }
    assert_eq!(first.used, 10);
    for _ in 0..600 {
        append(&mut first, &store, "y");
    }
    drop(first);
    let mut second = journal(2, 1000, 1000);
    // The head of the first still says that nothing was acknowledged: the service deduplicates.
    assert!(second.renew(&store, 10_000) >= 600);
}

#[test]
fn who_does_not_know_the_key_finds_no_slot_and_can_forge_none() {
    let store = Shared::default();
    let (mut first, mut second) = (journal(1, 3, 10), journal(2, 3, 10));
    first.renew(&store, 0);
    append(&mut first, &store, "a");
    append(&mut first, &store, "b");
    // The registry is there for everybody to read; what it lists is no name of a slot.
    let (listed, _) = store.get("portcullis.audit.gateway");
    let public = String::from_utf8(listed).unwrap();
    let known = |key: &String| key.starts_with(&public);
    assert!(!store.0.borrow().keys().any(known), "{:?}", store.0.borrow().keys());
    // A head and a record under the public name, and a registry that lists what nobody knows.
    let head = JournalHead { renewed_ms: 0, acknowledged: 0, slots: 1, waiting: 0 };
    store.set(&format!("{public}.head"), &head.encode());
    store.set(&format!("{public}.0"), b"\x01\0\0\0\0\0\0\0forged");
    store.set("portcullis.audit.gateway", b"nonsense\nportcullis.x\n\xff");
    assert_eq!(second.renew(&store, 20_000), 0);
    // Another mesh token finds nothing; the same one finds both records and no third.
    let limits = AuditLimits { max_waiting: 3, batch: 10 };
    let mut stranger = Journal::new(StreamId([3; 16]), [8; 32], "gateway", limits);
    store.set("portcullis.audit.gateway", public.as_bytes());
    assert_eq!(stranger.renew(&store, 40_000), 0);
    store.set("portcullis.audit.gateway", public.as_bytes());
    assert_eq!(second.renew(&store, 40_000), 2);
    assert_eq!(batch(&mut second, 40_000), ["a", "b"]);
}

#[test]
fn a_number_is_written_in_decimal() {
    for number in [0, 7, 10, 12_345, u64::MAX] {
        let mut out = "x.".to_owned();
        push_number(&mut out, number);
        assert_eq!(out, format!("x.{number}"));
    }
}

#[test]
fn what_comes_while_a_batch_is_under_way_goes_into_another() {
    let (store, mut journal) = (Shared::default(), journal(1, 10, 3));
    append(&mut journal, &store, "a");
    assert_eq!(batch(&mut journal, 0), ["a"]);
    append(&mut journal, &store, "b");
    journal.answered(false, 0);
    append(&mut journal, &store, "c");
    assert_eq!(batch(&mut journal, 1_000), ["a"], "the same again");
    journal.answered(true, 1_000);
    assert_eq!(batch(&mut journal, 1_000), ["b", "c"], "only what was sent is forgotten");
}

#[test]
fn less_than_a_whole_batch_waits_for_others() {
    let (store, mut journal) = (Shared::default(), journal(1, 10, 2));
    append(&mut journal, &store, "a");
    assert!(!journal.has_full_batch());
    for text in ["b", "c"] {
        append(&mut journal, &store, text);
    }
    assert!(journal.has_full_batch());
    assert_eq!(batch(&mut journal, 0), ["a", "b"]);
    journal.answered(true, 0);
    assert!(!journal.has_full_batch());
    assert_eq!(batch(&mut journal, 0), ["c"], "whoever asks gets it");
}

#[test]
fn what_waits_is_told_for_all_workers_of_a_proxy() {
    let (store, mut one, mut other) = (Shared::default(), journal(1, 10, 2), journal(2, 10, 2));
    for text in ["a", "b", "c"] {
        append(&mut one, &store, text);
    }
    append(&mut other, &store, "d");
    assert_eq!((one.waiting_in_all(), other.waiting_in_all()), (3, 1), "they do not know each other yet");
    for now_ms in [1_000, 2_000] {
        one.renew(&store, now_ms);
        other.renew(&store, now_ms);
    }
    assert_eq!((one.waiting_in_all(), other.waiting_in_all()), (4, 4));
    // What one that is gone left is counted once, by who recovered it.
    assert_eq!(other.renew(&store, 2_000 + DEAD_MS + 1), 3);
    assert_eq!(other.waiting_in_all(), 4);
}
