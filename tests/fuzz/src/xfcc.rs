//! `x-forwarded-client-cert`: only the last element says who the peer is, whatever stands before it.

#[allow(
    dead_code,
    unreachable_pub,
    reason = "a module of the control service, whose other dependencies a fuzzer need not build"
)]
#[path = "../../../control-service/api/src/xfcc.rs"]
mod rules;

use rules::principal;

use crate::input::Input;

const PARTS: &[&str] = &[
    "URI=spiffe://cluster.local/ns/a/sa/b",
    "uri=\"spiffe://cluster.local/ns/a/sa/b\"",
    "By=spiffe://d/x",
    "Hash=ab",
    "Subject=\"CN=a,O=b;c\"",
    "URI=",
    "\"",
    "\\",
    ",",
    ";",
    "=",
    " ",
    "DNS=a",
];

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut value = Vec::new();
    for _ in 0..input.byte() % 12 {
        let part = input.word(PARTS);
        value.extend_from_slice(part.as_bytes());
        value.extend_from_slice(input.pick(&["", ";", ","]).as_bytes());
    }
    value.extend_from_slice(input.rest());
    let Ok(peer) = principal(&value) else { return };
    let text = std::str::from_utf8(&value).expect("what is read is text");
    assert!(text.contains(peer.as_str()));
    // A hop before, whoever it says it is, changes nothing.
    let before = "By=spiffe://cluster.local/ns/x/sa/y;URI=spiffe://cluster.local/ns/evil/sa/evil";
    assert_eq!(principal([before, ",", text].concat().as_bytes()).ok(), Some(peer.clone()));
    // One behind is who counts then.
    let behind = [text, ",URI=spiffe://cluster.local/ns/last/sa/last"].concat();
    assert_eq!(
        principal(behind.as_bytes()).map(|id| id.to_string()).ok().as_deref(),
        Some("spiffe://cluster.local/ns/last/sa/last")
    );
    // Two of them in one element are nobody.
    assert!(principal([text, ";URI=spiffe://cluster.local/ns/last/sa/last"].concat().as_bytes()).is_err());
}
