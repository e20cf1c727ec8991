//! The identity of audit records and what both ends agree on about them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// `hop` of what the filter at a data cluster's sidecar records: the control service takes records of a gateway
/// from gateways alone.
pub const SIDECAR_HOP: &str = "sidecar";

/// Random name of one start of one VM; with a sequence number it names a record for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub [u8; 16]);

impl StreamId {
    /// Lower-case hexadecimal, 32 characters.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |n: u8| DIGITS.get(usize::from(n & 15)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Reads hexadecimal of either case; `None` for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Derives a key for one purpose from the mesh token: `HMAC-SHA-256(token, "portcullis " + purpose)`.
#[must_use]
pub fn derive_key(mesh_token: &[u8], purpose: &str) -> [u8; 32] {
    let mut text = b"portcullis ".to_vec();
    text.extend_from_slice(purpose.as_bytes());
    keyed_hash(mesh_token, &text)
}

/// HMAC-SHA-256 (RFC 2104).
#[must_use]
pub fn keyed_hash(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length; were that to change, all zeros would match no digest.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mut mac| {
        mac.update(message);
        mac.finalize().into_bytes().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back() {
        assert_eq!(hex(&[0, 1, 0xab, 0xff]), "0001abff");
        assert_eq!(unhex("0001abFF"), Some(vec![0, 1, 0xab, 0xff]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
        assert_eq!(unhex("+1"), None);
    }

    #[test]
    fn keyed_hash_is_hmac_sha256() {
        // RFC 4231, test case 2.
        assert_eq!(
            hex(&keyed_hash(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn keys_differ_by_purpose() {
        assert_ne!(derive_key(b"t", "a"), derive_key(b"t", "b"));
    }
}
