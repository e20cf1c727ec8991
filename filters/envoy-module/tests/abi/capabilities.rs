//! What a filter can do with its stream.

use std::io::{Read, Write};

use crate::envoy::{Envoy, Launch};
use crate::http::{connect, get, post, send};

const FILTERS: &[(&str, &str)] = &[("first", "tick=20000"), ("second", "")];

/// Parses the layout of headers in one buffer.
fn pairs(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let count = number(0);
    let mut at = 4 + count * 8;
    let mut part = |size: usize| {
        assert_eq!(bytes[at + size], 0);
        let part = bytes[at..at + size].to_vec();
        at += size + 1;
        part
    };
    let pairs = (0..count).map(|index| (part(number(4 + index * 8)), part(number(8 + index * 8)))).collect();
    assert_eq!(at, bytes.len());
    pairs
}

#[test]
fn headers_are_read_as_bytes_with_duplicates_in_order() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    let request = b"GET /headers HTTP/1.1\r\nhost: a\r\nx-twice: 1\r\nX-Latin: caf\xe9\r\nx-twice: 2\r\n\
        x-empty:\r\nconnection: close\r\n\r\n";
    let pairs = pairs(&send(envoy.address, request).body);
    let values = |name: &[u8]| -> Vec<Vec<u8>> {
        pairs.iter().filter(|pair| pair.0 == name).map(|pair| pair.1.clone()).collect()
    };
    assert_eq!(values(b"x-twice"), [b"1", b"2"]);
    assert_eq!(values(b"x-latin"), [b"caf\xe9"]);
    assert_eq!(values(b"x-empty"), [b""]);
    assert_eq!(values(b":path"), [b"/headers"]);
    assert_eq!(values(b":authority"), [b"a"]);
}

#[test]
fn more_headers_than_fit_the_stack_are_read_too() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    let many: Vec<String> = (0..90).map(|index| format!("x-{index}: {index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let pairs = pairs(&get(envoy.address, "/headers", &many).body);
    assert!(pairs.contains(&(b"x-89".to_vec(), b"89".to_vec())));
    assert!(pairs.len() > 90);
}

#[test]
fn headers_are_added_set_and_removed_on_both_ways() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    let headers = ["x-set: old", "x-set: older", "x-removed: 1", "x-removed: 2", "x-kept: 1", "x-empty:"];
    let response = get(envoy.address, "/edit", &headers);
    let seen = response.body.clone();
    assert_eq!(response.status, 200, "{}", envoy.log());
    let text = response.text();
    let has = |what: &[u8]| seen.windows(what.len()).any(|window| window == what);
    assert!(has(b"x-added: one\r\n") && has(b"x-added: t\xffo\r\n"), "{text}");
    assert!(has(b"x-set: new\r\n") && !has(b"old") && has(b"x-kept: 1\r\n"), "{text}");
    assert!(has(b"x-empty: \r\n") || has(b"x-empty:\r\n"), "{text}");
    assert!(!has(b"x-removed") && !has(b"smuggled"), "{text}");
    assert_eq!(response.values("x-probe"), ["first"]);
    assert!(response.values("x-secret").is_empty());
}

#[test]
fn a_route_is_chosen_anew_only_when_its_cache_is_cleared() {
    let envoy = Envoy::start(&Launch::of(&[("first", "")]));
    assert_eq!(get(envoy.address, "/route", &[]).status, 299);
    // Envoy has chosen a route before any filter is asked.
    assert_eq!(get(envoy.address, "/route-stale", &[]).status, 200);
}

#[test]
fn a_reply_has_status_headers_body_and_details() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    let response = get(envoy.address, "/reply", &[]);
    assert_eq!((response.status, response.text().as_str()), (418, "short and stout"));
    assert_eq!(response.values("x-a"), ["1", "2"]);
    assert_eq!(response.values("content-type"), ["text/tea"]);
    assert_eq!(response.values("grpc-status"), [""; 0]);
}

#[test]
fn a_reply_to_grpc_never_says_ok() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    let response = get(envoy.address, "/reply", &["content-type: application/grpc"]);
    assert_eq!((response.status, response.values("grpc-status")), (200, vec!["2"]));
    assert_eq!(response.values("grpc-message"), ["short and stout"]);
    let response = get(envoy.address, "/reply", &["content-type: application/grpc+proto", "x-grpc: 1"]);
    assert_eq!((response.status, response.values("grpc-status")), (200, vec!["5"]));
}

#[test]
fn a_reply_that_is_not_possible_is_a_503() {
    let mut envoy = Envoy::start(&Launch::of(FILTERS));
    assert_eq!(get(envoy.address, "/bad-reply", &[]).status, 503);
    envoy.assert_alive();
}

#[test]
fn a_response_can_be_replaced() {
    let envoy = Envoy::start(&Launch::of(&[("first", "")]));
    let response = get(envoy.address, "/response-reply", &[]);
    assert_eq!((response.status, response.text().as_str()), (502, "instead"));
}

#[test]
fn a_body_is_read_up_to_a_limit() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    assert_eq!(post(envoy.address, "/body", b"0123456789abcdef").text(), "16 bytes, \"0123456789\" first");
    let large = vec![b'x'; 300_000];
    assert_eq!(post(envoy.address, "/body", &large).text(), "300000 bytes, \"xxxxxxxxxx\" first");
    assert_eq!(post(envoy.address, "/body", b"ab").text(), "2 bytes, \"ab\" first");
}

#[test]
fn a_body_that_comes_in_pieces_is_read_whole() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    let mut stream = connect(envoy.address);
    stream
        .write_all(b"POST /body HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 12\r\n\r\n")
        .unwrap();
    for piece in [b"one.", b"two.", b"end."] {
        std::thread::sleep(std::time::Duration::from_millis(30));
        stream.write_all(piece).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("12 bytes, \"one.two.en\" first"), "{answer}");
}

#[test]
fn trailers_are_read() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    let request =
        b"POST /note-trailers HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
        \r\n2\r\nab\r\n0\r\nx-end: \xfe\r\n\r\n";
    assert_eq!(send(envoy.address, request).status, 200);
    let journal = get(envoy.address, "/journal", &[]).text();
    assert!(journal.contains("trailers \u{1}\0\0\0\u{5}\0\0\0\u{1}\0\0\0x-end\0\u{fffd}\0"), "{journal:?}");
}

#[test]
fn a_response_waits_for_its_body_and_its_trailers_can_be_changed() {
    let envoy = Envoy::start(&Launch::of(&[("first", "")]));
    let response = get(envoy.address, "/await-body", &[]);
    assert_eq!(response.values("x-body"), [format!("{} GET", response.body.len())]);
    let mut stream = connect(envoy.address);
    stream
        .write_all(b"GET /trailers HTTP/1.1\r\nhost: a\r\nconnection: close\r\nte: trailers\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ab\r\n0\r\nx-end: 1\r\nx-more: added\r\n\r\n"), "{answer}");
}

#[test]
fn a_filter_leaves_bytes_for_the_next_one() {
    let envoy = Envoy::start(&Launch::of(FILTERS));
    let left = format!("Some({:?}) None", b"left\xff\0".to_vec());
    assert_eq!(get(envoy.address, "/state", &[]).text(), left);
}

#[test]
fn a_complete_stream_tells_how_it_went() {
    let envoy = Envoy::start(&Launch::of(&[("first", "")]));
    assert_eq!(post(envoy.address, "/note", b"four").status, 200);
    let line = note(&envoy, "/note");
    assert!(
        line.contains("code=Some(200) details=Some(\"via_upstream\") flags=Some(0) sizes=Some(4)/Some("),
        "{line}"
    );
    assert!(line.contains("source=Some(\"127.0.0.1:") && line.contains("mtls=None"), "{line}");
    assert!(line.contains(&format!("upstream=Some(\"{}\")", envoy.upstream())), "{line}");
    assert!(line.contains("route=Some(\"main\") protocol=Some(\"HTTP/1.1\")"), "{line}");
    assert!(line.contains("wrong=None"), "{line}");
    let micros: u64 = line.rsplit("micros=").next().unwrap().trim().parse().unwrap();
    assert!((1..20_000_000).contains(&micros), "{line}");
}

#[test]
fn a_stream_whose_client_left_is_complete_too() {
    let mut envoy = Envoy::start(&Launch::of(&[("first", "")]));
    let mut stream = connect(envoy.address);
    stream.write_all(b"GET /hold-forever HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    envoy.until("open the stream", |envoy| envoy.metric("probe_open") == Some(1.0));
    drop(stream);
    envoy.until("note the end", |envoy| get(envoy.address, "/journal", &[]).text().contains("/hold-forever"));
    let line = note(&envoy, "/hold-forever");
    // DownstreamConnectionTermination
    assert!(line.contains("code=None") && line.contains("flags=Some(16384)"), "{line}");
}

#[test]
fn a_peer_is_known_by_its_certificate() {
    let envoy = Envoy::start_mutual_tls(&[("first", "")]);
    assert_eq!(get(envoy.address, "/note-tls", &[]).status, 200);
    let line = note(&envoy, "/note-tls");
    let peer = "mtls=Some(true) peer=Some(\"spiffe://cluster.local/ns/acme-workflows/sa/workflow-runner\")";
    assert!(line.contains(peer), "{line}");
}

fn note(envoy: &Envoy, path: &str) -> String {
    let journal = get(envoy.address, "/journal", &[]).text();
    let line = journal.lines().find(|line| line.contains(&format!(" {path}: ")));
    line.unwrap_or_else(|| panic!("no {path} in {journal:?}")).to_owned()
}
