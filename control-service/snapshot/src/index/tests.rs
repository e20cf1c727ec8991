use std::sync::Arc;

use portcullis_model::decision::ClusterState;
use portcullis_protocol::wire;

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
fn news_of_clusters_are_their_newest_states_and_complete_whatever_changes_beside() {
    let cluster = |id: &str, revision: u64, state: ClusterState| {
        let value = wire::Cluster { tenant: "acme".to_owned(), state: state.code() }.encode_to_vec();
        let (key, value) = (id.as_bytes().into(), Some(value.into()));
        Change { kind: RecordKind::Cluster, key, revision, value }
    };
    let (online, offline) = (ClusterState::Online, ClusterState::Offline);
    let mut changes = vec![cluster("a", 1, online), cluster("b", 2, online), cluster("a", 3, offline)];
    changes.extend((4..5004).map(|revision| change(&revision.to_string(), revision, true)));
    changes.push(cluster("c", 5004, online));
    let state = state(changes);
    let told = |after, most| {
        let (news, upto) = state.cluster_news(after, most);
        (news.into_iter().map(|c| (c.id.to_string(), c.state, c.revision)).collect::<Vec<_>>(), upto)
    };
    assert_eq!(told(0, 1), (vec![("b".to_owned(), online, 2)], 2));
    let (mut at, mut all, mut looks) = (0, Vec::new(), 0);
    while at < state.revision() {
        let (news, upto) = told(at, 9);
        assert!(upto > at);
        all.extend(news.into_iter().map(|(id, ..)| id));
        (at, looks) = (upto, looks + 1);
    }
    assert_eq!((all, looks), (vec!["b".to_owned(), "a".to_owned(), "c".to_owned()], 3));
    assert_eq!(told(5004, 9), (Vec::new(), 5004));
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
