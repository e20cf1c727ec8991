//! Looking at many bytes at a time.
//!
//! What a client sent is looked at byte by byte in several places of a request's way. In Wasm that costs some
//! six instructions a byte, and what the compiler makes of such loops by itself is hardly better, so the
//! module's own vector instructions are named here: one and a half.

pub use self::lanes::Lanes;

/// Bytes that are looked at together.
const CHUNK: usize = 16;

/// Whether a test holds for any of these bytes.
#[inline(always)]
#[must_use]
pub fn any(bytes: &[u8], test: impl Fn(Lanes) -> Lanes) -> bool {
    let (chunks, rest) = bytes.as_chunks::<CHUNK>();
    let found = chunks.iter().fold(Lanes::NONE, |found, chunk| found | test(Lanes::load(chunk)));
    // The last bytes together with some that were looked at already.
    let last = if chunks.is_empty() { folded(rest) } else { bytes.last_chunk().copied() };
    last.map_or(found, |last| found | test(Lanes::load(&last))).any()
}

/// Where the first byte is for which a test holds.
#[inline(always)]
#[must_use]
pub fn position(bytes: &[u8], test: impl Fn(Lanes) -> Lanes) -> Option<usize> {
    let (chunks, rest) = bytes.as_chunks::<CHUNK>();
    let mut start = 0_usize;
    for chunk in chunks {
        if let Some(at) = test(Lanes::load(chunk)).first() {
            return Some(start.saturating_add(at));
        }
        start = start.saturating_add(CHUNK);
    }
    test(Lanes::load(&padded(rest)?)).first().map(|at| start.saturating_add(at))
}

/// Fewer bytes than a chunk, each of them at least once and no other one, in any order; `None` of nothing. The first
/// ones and the last ones meet in the middle, which takes no loop and no call.
#[inline(always)]
fn folded(rest: &[u8]) -> Option<[u8; CHUNK]> {
    let mut folded = [*rest.first()?; CHUNK];
    let (low, high) = folded.split_at_mut(CHUNK / 2);
    if let (Some(first), Some(last)) = (rest.first_chunk::<8>(), rest.last_chunk::<8>()) {
        low.copy_from_slice(first);
        high.copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        low.get_mut(..4)?.copy_from_slice(first);
        high.get_mut(..4)?.copy_from_slice(last);
    } else {
        *low.last_mut()? = *rest.get(1).unwrap_or(rest.first()?);
        *high.last_mut()? = *rest.last()?;
    }
    Some(folded)
}

/// Fewer bytes than a chunk, filled up with their first one, which changes no answer; `None` of nothing.
#[inline(always)]
fn padded(rest: &[u8]) -> Option<[u8; CHUNK]> {
    let mut padded = [*rest.first()?; CHUNK];
    padded.get_mut(..rest.len())?.copy_from_slice(rest);
    Some(padded)
}

/// Whether all of it is ASCII.
#[inline(always)]
#[must_use]
pub fn is_ascii(bytes: &[u8]) -> bool {
    !any(bytes, |lanes| lanes.above(0x7f))
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod lanes {
    use std::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_gt, u8x16_lt, u8x16_splat, u64x2, v128, v128_and, v128_any_true,
        v128_or,
    };
    use std::ops::{BitAnd, BitOr};

    /// Sixteen bytes, or for each of them whether a test holds.
    #[derive(Debug, Clone, Copy)]
    pub struct Lanes(v128);

    #[allow(missing_docs, reason = "the same as the other one")]
    impl Lanes {
        pub const NONE: Self = Self(u64x2(0, 0));

        #[inline(always)]
        #[must_use]
        pub fn load(bytes: &[u8; 16]) -> Self {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
            let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            Self(u64x2(low, u64::from_le_bytes([i, j, k, l, m, n, o, p])))
        }

        #[inline(always)]
        #[must_use]
        pub fn is(self, byte: u8) -> Self {
            Self(u8x16_eq(self.0, u8x16_splat(byte)))
        }

        #[inline(always)]
        #[must_use]
        pub fn above(self, byte: u8) -> Self {
            Self(u8x16_gt(self.0, u8x16_splat(byte)))
        }

        #[inline(always)]
        #[must_use]
        pub fn below(self, byte: u8) -> Self {
            Self(u8x16_lt(self.0, u8x16_splat(byte)))
        }

        #[inline(always)]
        #[must_use]
        pub fn any(self) -> bool {
            v128_any_true(self.0)
        }

        #[inline(always)]
        #[must_use]
        pub fn first(self) -> Option<usize> {
            let found = u8x16_bitmask(self.0);
            (found != 0).then(|| usize::try_from(found.trailing_zeros()).unwrap_or_default())
        }
    }

    impl BitOr for Lanes {
        type Output = Self;

        #[inline(always)]
        fn bitor(self, other: Self) -> Self {
            Self(v128_or(self.0, other.0))
        }
    }

    impl BitAnd for Lanes {
        type Output = Self;

        #[inline(always)]
        fn bitand(self, other: Self) -> Self {
            Self(v128_and(self.0, other.0))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod lanes {
    use std::ops::{BitAnd, BitOr};

    /// Sixteen bytes, or for each of them whether a test holds.
    #[derive(Debug, Clone, Copy)]
    pub struct Lanes([u8; 16]);

    impl Lanes {
        /// A test that holds for none.
        pub const NONE: Self = Self([0; 16]);

        /// Takes sixteen bytes.
        #[inline(always)]
        #[must_use]
        pub fn load(bytes: &[u8; 16]) -> Self {
            Self(*bytes)
        }

        #[inline(always)]
        fn test(self, test: impl Fn(u8) -> bool) -> Self {
            Self(self.0.map(|byte| u8::from(test(byte))))
        }

        /// Which of them are this byte.
        #[inline(always)]
        #[must_use]
        pub fn is(self, byte: u8) -> Self {
            self.test(|own| own == byte)
        }

        /// Which are greater than this byte.
        #[inline(always)]
        #[must_use]
        pub fn above(self, byte: u8) -> Self {
            self.test(|own| own > byte)
        }

        /// Which are less than this byte.
        #[inline(always)]
        #[must_use]
        pub fn below(self, byte: u8) -> Self {
            self.test(|own| own < byte)
        }

        /// Whether the test holds for any.
        #[inline(always)]
        #[must_use]
        pub fn any(self) -> bool {
            u128::from_ne_bytes(self.0) != 0
        }

        /// The first for which it holds.
        #[inline(always)]
        #[must_use]
        pub fn first(self) -> Option<usize> {
            self.0.iter().position(|holds| *holds != 0)
        }
    }

    impl BitOr for Lanes {
        type Output = Self;

        #[inline(always)]
        fn bitor(self, other: Self) -> Self {
            let mut out = self;
            out.0.iter_mut().zip(other.0).for_each(|(own, other)| *own |= other);
            out
        }
    }

    impl BitAnd for Lanes {
        type Output = Self;

        #[inline(always)]
        fn bitand(self, other: Self) -> Self {
            let mut out = self;
            out.0.iter_mut().zip(other.0).for_each(|(own, other)| *own &= other);
            out
        }
    }
}

/// Whether two texts are the same.
#[inline(always)]
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let word = |word: Option<&[u8; 8]>| word.map(|word| u64::from_ne_bytes(*word));
    let half = |half: Option<&[u8; 4]>| half.map(|half| u32::from_ne_bytes(*half));
    match (a.len(), b.len()) {
        (a, b) if a != b => false,
        // The last bytes together with some that were compared already.
        (8.., _) => {
            let words = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b);
            word(a.last_chunk()) == word(b.last_chunk())
                && a.as_chunks().0.iter().zip(b.as_chunks().0).all(words)
        }
        (4.., _) => {
            half(a.first_chunk()) == half(b.first_chunk()) && half(a.last_chunk()) == half(b.last_chunk())
        }
        _ => a.iter().zip(b).all(|(a, b)| a == b),
    }
}

/// A number in decimal digits; `None` for anything else.
#[inline]
#[must_use]
pub fn number(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.checked_sub(b'0').filter(|digit| *digit < 10).map(u64::from);
    // So many digits cannot overflow, and in Wasm it is the check that costs.
    const SAFE: usize = 19;
    let next = |number: u64, byte: &u8| Some(number.wrapping_mul(10).wrapping_add(digit(byte)?));
    let checked = |number: u64, byte: &u8| number.checked_mul(10)?.checked_add(digit(byte)?);
    match text.len() {
        0 => None,
        1..=SAFE => text.iter().try_fold(0, next),
        _ => text.iter().try_fold(0, checked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_place_is_looked_at() {
        for length in 0..70 {
            let mut text = vec![b'a'; length];
            assert!(!any(&text, |b| b.is(b'?')) && position(&text, |b| b.is(b'?')).is_none());
            assert!(is_ascii(&text) && same(&text, &text.clone()) && !same(&text, &[b'b'; 70]));
            for at in 0..length {
                let before = text.clone();
                text[at] = b'?';
                assert!(any(&text, |b| b.is(b'?')) && !same(&text, &before), "{at} of {length}");
                assert_eq!(position(&text, |b| b.is(b'?')), Some(at));
                text[at] = 0xff;
                assert!(!is_ascii(&text));
                text[at] = b'a';
            }
        }
    }

    #[test]
    fn a_number_has_digits_alone() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"18446744073709551616", b"+1", b"-1", b"1 ", b"a"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }
}
