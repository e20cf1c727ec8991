//! The entry that the log holds of a record: a commitment that shows nothing of it.
//!
//! `docs/audit-log.md` has both forms byte by byte, for whoever verifies them.

use sha2::{Digest, Sha256};

/// The form of the entries that this code writes.
const VERSION: u8 = 1;

/// A commitment to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry {
    /// Its index in the log, from 1.
    pub index: u64,
    /// When the record was received, milliseconds since the Unix epoch.
    pub received_ms: u64,
    /// [`commitment`] of the record's salt and body.
    pub commitment: [u8; 32],
}

impl LogEntry {
    /// Bytes of an entry.
    pub const SIZE: usize = 1 + 8 + 8 + 32;

    /// The bytes that the log holds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (index, received) = (self.index.to_be_bytes(), self.received_ms.to_be_bytes());
        [&[VERSION][..], &index, &received, &self.commitment].concat()
    }

    /// Reads an entry; `None` of anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (received, commitment) = rest.split_first_chunk()?;
        let entry = Self {
            index: u64::from_be_bytes(*index),
            received_ms: u64::from_be_bytes(*received),
            commitment: commitment.try_into().ok()?,
        };
        (*version == [VERSION]).then_some(entry)
    }

    /// Whether this is the entry of a record with this salt and body.
    #[must_use]
    pub fn commits_to(&self, salt: &[u8; 32], body: &[u8]) -> bool {
        self.commitment == commitment(salt, body)
    }
}

/// What an entry says of a record: nobody who lacks the salt can tell what the body is, or try out what it might be.
#[must_use]
pub fn commitment(salt: &[u8; 32], body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(body).finalize().into()
}

/// The leaf of a Merkle tree that holds an entry (RFC 9162 §2.1.1): hashed with a zero byte in front.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// What is committed to: who sent a record, what of it tells nothing of a person, and the rest, sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBody<'a> {
    /// Principal of the sender; empty for the control service itself.
    pub principal: &'a str,
    /// Those fields of the record that stay in clear, encoded.
    pub open: &'a [u8],
    /// The other fields, encoded and encrypted with a key of the data subject; empty where there are none.
    pub sealed: &'a [u8],
}

impl<'a> LogBody<'a> {
    /// The bytes that are committed to. `None` of parts that are longer than their lengths can be written.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let principal = u16::try_from(self.principal.len()).ok()?.to_be_bytes();
        let open = u32::try_from(self.open.len()).ok()?.to_be_bytes();
        Some([&principal[..], self.principal.as_bytes(), &open, self.open, self.sealed].concat())
    }

    /// Reads a body; `None` of anything else.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (principal, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let (length, rest) = rest.split_first_chunk()?;
        let (open, sealed) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
        Some(Self { principal: std::str::from_utf8(principal).ok()?, open, sealed })
    }
}

#[cfg(test)]
mod tests {
    use portcullis_protocol::audit::hex;

    use super::*;

    #[test]
    fn an_entry_is_what_the_documents_say_byte_by_byte() {
        let body = LogBody { principal: "p", open: b"open", sealed: b"sealed" };
        let bytes = body.encode().unwrap();
        assert_eq!(bytes, b"\0\x01p\0\0\0\x04opensealed");
        assert_eq!(LogBody::decode(&bytes), Some(body));
        let entry =
            LogEntry { index: 258, received_ms: 1_700_000_000_000, commitment: commitment(&[7; 32], &bytes) };
        let written = entry.encode();
        assert_eq!(written.len(), LogEntry::SIZE);
        assert!(hex(&written).starts_with("0100000000000001020000018bcfe56800"), "{}", hex(&written));
        assert_eq!(LogEntry::decode(&written), Some(entry));
        assert!(entry.commits_to(&[7; 32], &bytes) && !entry.commits_to(&[8; 32], &bytes));
    }

    #[test]
    fn nothing_else_is_read_as_an_entry_or_a_body() {
        let entry = LogEntry { index: 1, received_ms: 2, commitment: [3; 32] }.encode();
        let newer = [&[2][..], &entry[1..]].concat();
        for bytes in [&entry[..48], &[&entry[..], &[0]].concat(), &newer, b""] {
            assert_eq!(LogEntry::decode(bytes), None);
        }
        for bytes in [&b"\0\x02p"[..], b"\0\x01\xff\0\0\0\0", b"\0\0\0\0\0\x01", b"\0"] {
            assert_eq!(LogBody::decode(bytes), None, "{bytes:?}");
        }
    }
}
