//! What a record is made of.

use std::borrow::Cow;

use crate::scan::{self, Lanes};
use crate::secrets::PREFIXES;

/// Bytes of a method that are recorded. Over HTTP/2 a client may send a method as long as all its headers.
pub(super) const MAX_METHOD: usize = 32;

/// Bytes of a path that are recorded.
const MAX_PATH: usize = 1024;

/// Bytes of what a client of the Model Context Protocol says of its request.
pub(super) const MAX_MCP: usize = 128;

/// Bytes of a request id that are recorded.
pub(super) const MAX_REQUEST_ID: usize = 128;

/// What stands in the place of a secret.
const BLOT: &str = "[secret]";

/// A text of a client, cut to so many bytes before bytes that are not UTF-8 are replaced.
pub(super) fn cut(text: &[u8], max: usize) -> Cow<'_, [u8]> {
    let text = text.get(..max).unwrap_or(text);
    // ASCII is by far the most common, and this check is by far the faster one.
    if scan::is_ascii(text) {
        return Cow::Borrowed(text);
    }
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The path without its query, which may carry secrets; cut to 1024 bytes. What looks like a secret although it
/// has no business in a path is blotted out.
pub(super) fn without_query(path: &[u8]) -> Cow<'_, [u8]> {
    // Nearly every path is short and plain, which one look tells.
    let odd = |b: Lanes| b.is(b'?') | b.is(b'#') | b.is(b'_') | b.is(b'J') | b.above(b'~');
    if path.len() <= MAX_PATH && !scan::any(path, odd) {
        return Cow::Borrowed(path);
    }
    let end = scan::position(path, |bytes| bytes.is(b'?') | bytes.is(b'#')).unwrap_or(path.len());
    without_secrets(path.get(..end).unwrap_or_default(), MAX_PATH)
}

/// A text of a client, cut, in which what looks like a secret is blotted out.
pub(super) fn without_secrets(text: &[u8], max: usize) -> Cow<'_, [u8]> {
    let cut = cut(text, max);
    // No secret is shorter.
    if cut.len() < 20 || !may_hold_secret(&cut) {
        return cut;
    }
    let text = String::from_utf8_lossy(&cut);
    if text.split(between).any(is_secret) { Cow::Owned(blotted(&text).into_bytes()) } else { cut }
}

/// Whether a path has a mark of a secret at all. Nearly none has, and looking for whole words costs twenty times
/// as much as this; the first look is made at many bytes at a time.
fn may_hold_secret(path: &[u8]) -> bool {
    scan::any(path, |bytes| bytes.is(b'_') | bytes.is(b'J'))
        && path.windows(4).any(|four| match four {
            [b'p', b'c', kind, b'_'] => kind.is_ascii_lowercase(),
            [b'e', b'y', b'J', _] => true,
            _ => false,
        })
}

/// What secrets and tokens have no character of.
fn between(character: char) -> bool {
    !(character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.'))
}

/// Whether a word has the form of our own secrets (`pck_…` and the like) or of a JSON object in base64url, with
/// which every JWS begins.
fn is_secret(word: &str) -> bool {
    let own = |kind: &str| word.split_once(kind).is_some_and(|(_, rest)| rest.len() >= 16);
    PREFIXES.into_iter().any(own) || word.split_once("eyJ").is_some_and(|(_, rest)| rest.contains('.'))
}

fn blotted(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for piece in path.split_inclusive(between) {
        let word = piece.strip_suffix(between).unwrap_or(piece);
        let rest = piece.strip_prefix(word).unwrap_or_default();
        out.push_str(if is_secret(word) { BLOT } else { word });
        out.push_str(rest);
    }
    out
}

/// The trace id of a `traceparent` header (W3C Trace Context §3.2.2); empty when there is none.
pub(super) fn trace_id(traceparent: Option<&[u8]>) -> Cow<'_, [u8]> {
    let id = traceparent.filter(|t| t.len() >= 55).and_then(|t| t.get(3..35)).unwrap_or_default();
    // Lower-case digits, as the standard wants them; what is between them is looked at more closely.
    let odd = |bytes: Lanes| bytes.below(b'0') | bytes.above(b'f');
    let between = |bytes: Lanes| bytes.above(b'9') & bytes.below(b'a');
    if scan::any(id, |bytes| odd(bytes) | between(bytes)) {
        let hex = id.iter().all(u8::is_ascii_hexdigit);
        return if hex { Cow::Owned(id.to_ascii_lowercase()) } else { Cow::Borrowed(b"") };
    }
    if !scan::any(id, |bytes| bytes.above(b'0')) {
        return Cow::Borrowed(b"");
    }
    Cow::Borrowed(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_never_recorded() {
        assert_eq!(*without_query(b"/a?token=s"), *b"/a");
        assert_eq!(*without_query(b"/a#token=s"), *b"/a");
        assert_eq!(*without_query(b"/\xff"), *"/\u{fffd}".as_bytes());
        assert_eq!(without_query(&[b'a'; 5000]).len(), 1024);
    }

    #[test]
    fn a_secret_in_a_path_is_blotted_out() {
        let key = format!("pck_{}", "a1B2".repeat(8));
        let cases = [
            (format!("/v1/{key}/x"), "/v1/[secret]/x"),
            (format!("/v1;k=x{key};b"), "/v1;k=[secret];b"),
            ("/t/eyJhbGciOiJub25lIn0.e30.".to_owned(), "/t/[secret]"),
            ("/t:eyJhbGciOiJub25lIn0.e30.c2ln,/é".to_owned(), "/t:[secret],/é"),
            ("/docs/pck_format/eyJ/é".to_owned(), "/docs/pck_format/eyJ/é"),
        ];
        for (path, expected) in cases {
            assert_eq!(*without_query(path.as_bytes()), *expected.as_bytes());
        }
        // One that the cut took a part of.
        let long = format!("/{}/{key}", "a".repeat(995));
        assert!(without_query(long.as_bytes()).ends_with(b"/[secret]"));
    }

    #[test]
    fn the_first_look_passes_over_no_secret() {
        for kind in PREFIXES {
            assert!(may_hold_secret(format!("/x{kind}").as_bytes()), "{kind}");
        }
        assert!(may_hold_secret(b"/eyJh") && !may_hold_secret(b"/snake_case/Jey/pc_/pck-x"));
    }

    #[test]
    fn a_trace_id_is_read_or_empty() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(Some(format!("00-{id}-00f067aa0ba902b7-01").as_bytes())), id.as_bytes());
        for bad in ["", "00-zz", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert!(trace_id(Some(bad.as_bytes())).is_empty());
        }
        assert!(trace_id(None).is_empty());
    }
}
