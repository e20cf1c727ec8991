//! Arguments and answers of Envoy's foreign functions: a handful of protobuf fields, written by
//! hand so that a token is not copied into a message first.

use crate::error::HostErrorKind;

pub(crate) const VERIFY_SIGNATURE: &str = "verify_signature";
pub(crate) const CLEAR_ROUTE_CACHE: &str = "clear_route_cache";
pub(crate) const SET_FILTER_STATE: &str = "set_envoy_filter_state";

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Hash of a signature that [`Host::verify_signature`](crate::Host::verify_signature) can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashFunction {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl HashFunction {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"sha256",
            Self::Sha384 => b"sha384",
            Self::Sha512 => b"sha512",
        }
    }
}

/// How long an object of Envoy's filter state lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LifeSpan {
    /// Until this filter chain is done with the request.
    FilterChain = 0,
    /// As long as the request, internal redirects included.
    DownstreamRequest = 1,
    /// As long as the client's connection.
    DownstreamConnection = 2,
}

pub(crate) fn verify_arguments(hash: HashFunction, key: &[u8], signature: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + signature.len() + text.len() + 32);
    bytes_field(&mut out, 1, hash.name());
    bytes_field(&mut out, 2, key);
    bytes_field(&mut out, 3, signature);
    bytes_field(&mut out, 4, text);
    out
}

/// Field 1 of the answer: whether the signature fits. Proto3 leaves `false` out.
pub(crate) fn verify_result(mut answer: &[u8]) -> Result<bool, HostErrorKind> {
    let mut fits = false;
    while !answer.is_empty() {
        let tag = read_varint(&mut answer)?;
        match (tag >> 3, tag & 7) {
            (1, VARINT) => fits = read_varint(&mut answer)? != 0,
            (_, VARINT) => {
                read_varint(&mut answer)?;
            }
            (_, BYTES) => {
                let size = usize::try_from(read_varint(&mut answer)?);
                skip(&mut answer, size.map_err(|_| HostErrorKind::Malformed)?)?;
            }
            (_, FIXED64) => skip(&mut answer, 8)?,
            (_, FIXED32) => skip(&mut answer, 4)?,
            _ => return Err(HostErrorKind::Malformed),
        }
    }
    Ok(fits)
}

pub(crate) fn filter_state_arguments(path: &str, value: &[u8], span: LifeSpan) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + value.len() + 16);
    bytes_field(&mut out, 1, path.as_bytes());
    bytes_field(&mut out, 2, value);
    varint(&mut out, 3 << 3 | VARINT);
    varint(&mut out, span as u64);
    out
}

fn bytes_field(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(input: &mut &[u8]) -> Result<u64, HostErrorKind> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or(HostErrorKind::Malformed)?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(HostErrorKind::Malformed)
}

fn skip(input: &mut &[u8], size: usize) -> Result<(), HostErrorKind> {
    *input = input.get(size..).ok_or(HostErrorKind::Malformed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arguments_are_protobuf_fields_in_order() {
        let long = [7; 200];
        let arguments = verify_arguments(HashFunction::Sha256, b"k", b"s", &long);
        let mut expected = b"\x0a\x06sha256\x12\x01k\x1a\x01s\x22\xc8\x01".to_vec();
        expected.extend_from_slice(&long);
        assert_eq!(arguments, expected);

        let arguments = filter_state_arguments("p", b"v", LifeSpan::DownstreamRequest);
        assert_eq!(arguments, b"\x0a\x01p\x12\x01v\x18\x01");
    }

    #[test]
    fn only_an_explicit_true_is_true() {
        assert_eq!(verify_result(b""), Ok(false));
        assert_eq!(verify_result(b"\x08\x00"), Ok(false));
        assert_eq!(verify_result(b"\x08\x01"), Ok(true));
        assert_eq!(verify_result(b"\x12\x03bad"), Ok(false));
        assert_eq!(verify_result(b"\x12\x03bad\x08\x01"), Ok(true));
        assert_eq!(verify_result(b"\x08\x01\x08\x00"), Ok(false), "last wins");
        for malformed in [&b"\x08"[..], b"\x12\x05bad", b"\x0b", b"\x09\x01", b"\x08\x80"] {
            assert_eq!(verify_result(malformed), Err(HostErrorKind::Malformed));
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(answer: Vec<u8>) {
            let _ = verify_result(&answer);
        }
    }
}
