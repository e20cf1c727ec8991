//! The little DER (X.690) that native verification needs.

/// An ECDSA signature as DER from JOSE's fixed-length form (RFC 7518 §3.4): `SEQUENCE { r, s }`.
/// `None` unless it is two halves of `half` bytes.
#[must_use]
pub fn ecdsa_signature(raw: &[u8], half: usize) -> Option<Vec<u8>> {
    if raw.len() != half.checked_mul(2)? {
        return None;
    }
    let (r, s) = raw.split_at_checked(half)?;
    let mut body = integer(r)?;
    body.extend(integer(s)?);
    let mut out = vec![0x30];
    // The longest curve here is P-384: two integers of at most 51 bytes, so one length byte is enough.
    out.push(u8::try_from(body.len()).ok().filter(|n| *n < 0x80)?);
    out.extend(body);
    Some(out)
}

/// A non-negative `INTEGER` in its shortest form.
fn integer(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len().checked_sub(1)?);
    let digits = bytes.get(first..)?;
    let pad = digits.first().is_some_and(|b| *b >= 0x80);
    let len = u8::try_from(digits.len().checked_add(usize::from(pad))?).ok()?;
    let mut out = vec![0x02, len];
    if pad {
        out.push(0);
    }
    out.extend_from_slice(digits);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_shortest_and_never_negative() {
        assert_eq!(
            ecdsa_signature(&[0x00, 0x01, 0x80, 0x00], 2),
            Some(vec![0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 0])
        );
        assert_eq!(ecdsa_signature(&[0, 0, 0, 0], 2), Some(vec![0x30, 6, 2, 1, 0, 2, 1, 0]));
    }

    #[test]
    fn another_length_is_no_signature() {
        assert_eq!(ecdsa_signature(&[1, 2, 3], 2), None);
        assert_eq!(ecdsa_signature(&[], 0), None);
    }
}
