//! One record as it comes.

use portcullis_protocol::wire::AuditRecord;
use prost::Message;

use super::parts::Parts;

/// Bytes of one record at most.
const MAX_RECORD: usize = 64 * 1024;
/// Highest number that is believed: a proxy that lies must not make sums overflow.
pub(super) const MAX_SEQUENCE: i64 = 1 << 48;

/// A record that can be stored: readable, of a stream, numbered.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    bytes: Vec<u8>,
    parts: Parts,
    stream: [u8; 16],
    sequence: i64,
    record: AuditRecord,
}

impl Parsed {
    /// Reads an encoded record; `None` when it cannot be told apart from garbage.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() > MAX_RECORD {
            return None;
        }
        let record = AuditRecord::decode(bytes.as_slice()).ok()?;
        let stream = record.stream.as_slice().try_into().ok()?;
        let sequence = i64::try_from(record.sequence).ok().filter(|s| (1..=MAX_SEQUENCE).contains(s))?;
        let parts = Parts::of(&bytes)?;
        Some(Self { bytes, parts, stream, sequence, record })
    }

    /// The record as it came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, in two parts.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The id of its stream.
    #[must_use]
    pub fn stream(&self) -> [u8; 16] {
        self.stream
    }

    /// Its number there.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        self.sequence
    }

    /// What it says.
    #[must_use]
    pub fn record(&self) -> &AuditRecord {
        &self.record
    }
}
