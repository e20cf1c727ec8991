//! Headers, copied into one buffer.
//!
//! The layout, all numbers little-endian `u32`: how many pairs; the lengths of name and value of
//! each pair; then for each pair the name, a NUL, the value, a NUL.

use super::bytes::slice;
use super::error::{AbiResult, HostErrorKind};
use super::raw::EnvoyHeader;

/// More headers than that are refused; Envoy itself allows 100 unless configured otherwise.
pub(super) const MAX_HEADERS: usize = 4096;

/// Puts headers into a buffer, in place of what it held.
///
/// # Errors
/// When a pointer or a length makes no sense, or when there is too much. The buffer is empty then.
///
/// # Safety
/// The headers come from Envoy, and what they point to stays valid during the call.
pub(super) unsafe fn copy(headers: &[EnvoyHeader], out: &mut Vec<u8>) -> Result<(), HostErrorKind> {
    out.clear();
    // SAFETY: the caller's promise.
    let result = unsafe { append(headers, out) };
    if result.is_err() {
        out.clear();
    }
    result
}

/// # Safety
/// As for [`copy`].
unsafe fn append(headers: &[EnvoyHeader], out: &mut Vec<u8>) -> Result<(), HostErrorKind> {
    number(headers.len(), out)?;
    for header in headers {
        number(header.name.size, out)?;
        number(header.value.size, out)?;
    }
    for header in headers {
        for part in [header.name, header.value] {
            // SAFETY: the caller's promise.
            out.extend_from_slice(unsafe { slice(part) }?);
            out.push(0);
        }
    }
    Ok(())
}

fn number(number: usize, out: &mut Vec<u8>) -> Result<(), HostErrorKind> {
    let number = u32::try_from(number).map_err(|_| HostErrorKind::TooLarge)?;
    out.extend_from_slice(&number.to_le_bytes());
    Ok(())
}

/// Whether a header is possible in HTTP: Envoy itself would write anything to an HTTP/1 peer.
pub(super) fn check_header(call: &'static str, name: &[u8], value: &[u8]) -> AbiResult<()> {
    let bare = name.strip_prefix(b":").unwrap_or(name);
    let named = !bare.is_empty() && bare.iter().copied().all(is_token);
    let valued = !value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'));
    if named && valued { Ok(()) } else { Err(HostErrorKind::BadHeader.of(call)) }
}

/// Whether Envoy can write a header into those of a stream.
pub(super) fn check_written(call: &'static str, name: &[u8], value: &[u8]) -> AbiResult<()> {
    if value.is_empty() { Err(HostErrorKind::EmptyValue.of(call)) } else { check_header(call, name, value) }
}

/// A character of a header's name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::raw::EnvoyBuffer;

    fn buffer(bytes: &[u8]) -> EnvoyBuffer {
        EnvoyBuffer { data: bytes.as_ptr(), size: bytes.len() }
    }

    fn header(name: &[u8], value: &[u8]) -> EnvoyHeader {
        EnvoyHeader { name: buffer(name), value: buffer(value) }
    }

    #[test]
    fn duplicates_and_bytes_that_are_no_text_are_kept_in_order() {
        let headers = [header(b"a", b"1"), header(b"a", b"\xff\0"), header(b"bc", b"")];
        let mut out = b"old".to_vec();
        // SAFETY: the headers point to literals.
        unsafe { copy(&headers, &mut out) }.unwrap();
        let mut expected = Vec::new();
        for number in [3_u32, 1, 1, 1, 2, 2, 0] {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(b"a\x001\0a\0\xff\0\0bc\0\0");
        assert_eq!(out, expected);
    }

    #[test]
    fn a_header_that_would_become_another_one_is_refused() {
        let check = |name: &[u8], value: &[u8]| check_header("", name, value).is_ok();
        assert!(check(b":path", b"/") && check(b"x-a", b"") && check(b"X_a", b"\xff\x01"));
        for name in [&b""[..], b":", b"a b", b"a:", b"a\r\nb", b"\xff"] {
            assert!(!check(name, b""), "{name:?}");
        }
        for value in [&b"a\r\nb: c"[..], b"\n", b"\0"] {
            assert!(!check(b"a", value), "{value:?}");
        }
    }

    #[test]
    fn no_headers_are_four_bytes() {
        let mut out = Vec::new();
        // SAFETY: nothing is pointed to.
        unsafe { copy(&[], &mut out) }.unwrap();
        assert_eq!(out, [0; 4]);
    }

    #[test]
    fn a_bad_header_leaves_nothing_behind() {
        let bad = EnvoyHeader { name: buffer(b"a"), value: EnvoyBuffer { data: std::ptr::null(), size: 9 } };
        let mut out = b"old".to_vec();
        // SAFETY: the null pointer is refused before it is read.
        assert_eq!(unsafe { copy(&[bad], &mut out) }, Err(HostErrorKind::BadPointer));
        assert!(out.is_empty());
        let long =
            EnvoyHeader { name: buffer(b"a"), value: EnvoyBuffer { data: b"a".as_ptr(), size: 1 << 40 } };
        // SAFETY: the length is refused before it is read.
        assert_eq!(unsafe { copy(&[long], &mut out) }, Err(HostErrorKind::TooLarge));
    }
}
