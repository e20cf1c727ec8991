use std::sync::Arc;

use super::*;

const LIFE: [u8; 16] = [1; 16];

fn change(key: &str, revision: u64, present: bool) -> Change {
    let value = present.then(|| Arc::from(&b"v"[..]));
    Change { kind: RecordKind::Revocation, key: key.as_bytes().into(), revision, value }
}

fn state(changes: Vec<Change>) -> SnapshotIndex {
    let mut state = SnapshotIndex::new(LIFE, 0, 0);
    state.publish(Published { changes, floor: 0 });
    state
}

fn ask(revision: u64) -> Ask {
    Ask { view: View::Gateway, generation: LIFE.to_vec(), revision, cursor: Vec::new() }
}

#[test]
fn a_delta_holds_the_latest_change_of_each_entry_in_order() {
    let state = state(vec![change("a", 1, true), change("b", 2, true), change("a", 3, false)]);
    let (page, news) = state.answer(&ask(1));
    let seen: Vec<_> = page.records.iter().map(|r| (r.key.as_slice(), r.removed)).collect();
    assert_eq!(seen, [(&b"b"[..], false), (b"a", true)]);
    assert_eq!((page.revision, page.reset, news), (3, false, true));
    assert!(!state.answer(&ask(3)).1);
}

#[test]
fn no_debug_output_holds_a_value() {
    let change = change("a", 1, true);
    let told = format!("{change:?} {:?}", state(vec![change.clone()]));
    // The value is `v`.
    assert!(!told.contains("118") && told.contains("revision: 1"), "{told}");
}

#[test]
fn below_the_floor_everything_comes_anew() {
    let mut state = state(vec![change("a", 1, true), change("b", 2, true), change("a", 3, false)]);
    state.publish(Published { changes: vec![change("c", 4, true)], floor: 3 });
    assert!(!state.answer(&ask(3)).0.reset, "at the floor nothing is missing");
    let (page, _) = state.answer(&ask(2));
    assert!(page.reset, "the removal of `a` is forgotten, so a delta would leave it in place");
    assert_eq!(page.records.iter().map(|r| r.key.as_slice()).collect::<Vec<_>>(), [b"b", b"c"]);
    let under_way = Ask { cursor: EntryKey { kind: 0, key: Arc::default() }.cursor(), ..ask(2) };
    assert!(state.answer(&under_way).0.reset, "a resync that the floor has passed begins again");
}

#[test]
fn a_long_delta_comes_in_pages_without_a_hole() {
    let changes = (1..=3000).map(|n| change(&n.to_string(), n, true)).collect();
    let state = state(changes);
    let (mut revision, mut seen) = (0, 0);
    loop {
        let (page, _) = state.answer(&ask(revision));
        assert!(page.encoded_len() < PAGE_BYTES + 256);
        seen += page.records.len();
        revision = page.revision;
        if !page.more {
            break;
        }
    }
    assert_eq!((revision, seen), (3000, 3000));
}

#[test]
fn one_entry_larger_than_a_page_still_arrives() {
    let large = Change { value: Some(vec![0; 2 * PAGE_BYTES].into()), ..change("a", 1, true) };
    let state = state(vec![large, change("b", 2, true)]);
    let (page, _) = state.answer(&Ask { generation: Vec::new(), ..ask(0) });
    assert!(page.more && page.records.len() == 1);
    let rest = Ask { cursor: page.cursor, ..ask(page.revision) };
    assert_eq!(state.answer(&rest).0.records.len(), 1);
}
