//! What a record is made of.

use std::borrow::Cow;

/// Bytes of a method that are recorded. Over HTTP/2 a client may send a method as long as all its headers.
pub(crate) const MAX_METHOD: usize = 32;

/// Bytes of a request id that are recorded.
pub(crate) const MAX_REQUEST_ID: usize = 128;

/// A text of a client, cut to so many bytes before bytes that are not UTF-8 are replaced.
pub(crate) fn cut(text: &[u8], max: usize) -> Cow<'_, str> {
    let text = text.get(..max).unwrap_or(text);
    // Good text is by far the most common, and this check is by far the faster one.
    std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}

/// The path without its query, which may carry secrets; cut to 1024 bytes.
pub(crate) fn without_query(path: &[u8]) -> Cow<'_, str> {
    let end = path.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(path.len());
    cut(path.get(..end).unwrap_or_default(), 1024)
}

/// The trace id of a `traceparent` header (W3C Trace Context §3.2.2); empty when there is none.
pub(crate) fn trace_id(traceparent: Option<&[u8]>) -> String {
    let id = traceparent.filter(|t| t.len() >= 55).and_then(|t| t.get(3..35));
    let valid = |id: &&[u8]| id.iter().all(|b| b.is_ascii_hexdigit()) && id.iter().any(|b| *b != b'0');
    id.filter(valid).map(|id| String::from_utf8_lossy(id).to_ascii_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_never_recorded() {
        assert_eq!(without_query(b"/a?token=s"), "/a");
        assert_eq!(without_query(b"/a#token=s"), "/a");
        assert_eq!(without_query(b"/\xff"), "/\u{fffd}");
        assert_eq!(without_query(&[b'a'; 5000]).len(), 1024);
    }

    #[test]
    fn a_trace_id_is_read_or_empty() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(Some(format!("00-{id}-00f067aa0ba902b7-01").as_bytes())), id);
        for bad in ["", "00-zz", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert_eq!(trace_id(Some(bad.as_bytes())), "");
        }
        assert_eq!(trace_id(None), "");
    }
}
