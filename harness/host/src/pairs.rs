//! The ABI's serialised maps: count, sizes, then names and values, each ended by a zero byte.

/// Envoy refuses bigger maps from a module.
const MAX_BYTES: usize = 1 << 20;
const MAX_PAIRS: usize = 1024;

/// Serialises pairs.
pub(crate) fn encode<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Vec<u8> {
    let size = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    let (count, bytes) =
        pairs.clone().fold((0, 4), |(count, bytes), (n, v)| (count + 1, bytes + 10 + n.len() + v.len()));
    let mut encoded = Vec::with_capacity(bytes);
    encoded.extend_from_slice(&size(count));
    for (name, value) in pairs.clone() {
        encoded.extend_from_slice(&size(name.len()));
        encoded.extend_from_slice(&size(value.len()));
    }
    for (name, value) in pairs {
        encoded.extend_from_slice(name);
        encoded.push(0);
        encoded.extend_from_slice(value);
        encoded.push(0);
    }
    encoded
}

/// Reads pairs. `None` if they are malformed or too many, which Envoy takes as an empty map.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let (count, mut rest) = take_u32(bytes)?;
    if count > MAX_PAIRS {
        return None;
    }
    let mut sizes = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, after) = take_u32(rest)?;
        let (value, after) = take_u32(after)?;
        sizes.push((name, value));
        rest = after;
    }
    let mut pairs = Vec::with_capacity(count);
    for (name, value) in sizes {
        let (name, after) = take_string(rest, name)?;
        let (value, after) = take_string(after, value)?;
        pairs.push((name, value));
        rest = after;
    }
    rest.is_empty().then_some(pairs)
}

fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

fn take_string(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let (string, rest) = bytes.split_at_checked(len)?;
    match rest.split_first() {
        Some((0, rest)) => Some((string, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let pairs: Vec<(&[u8], &[u8])> = vec![(b"a", b""), (b"", b"b"), (b"\xff", b"c\0d")];
        assert_eq!(decode(&encode(pairs.iter().copied())), Some(pairs.clone()));
    }

    #[test]
    fn malformed_pairs_are_refused() {
        let good = encode([(&b"name"[..], &b"value"[..])].into_iter());
        for cut in 0..good.len() {
            assert_eq!(decode(&good[..cut]), None, "cut at {cut}");
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(decode(&long), None);
        assert_eq!(decode(&u32::MAX.to_le_bytes()), None);
    }
}
