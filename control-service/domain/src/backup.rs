//! What a backup says of itself.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use portcullis_protocol::audit::{hex, unhex};

/// The form of backups that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of the backup.
    pub format: u32,
    /// Version of the program that made it.
    pub program: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub made_at_ms: u64,
    /// Version of the tables.
    pub schema: usize,
    /// Name of the store's life.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub generation: [u8; 16],
    /// The newest revision of the snapshot.
    pub revision: u64,
    /// The newest index of the audit log; 0 when it is empty.
    pub audit_index: u64,
    /// The leaf hash of that record, hexadecimal; empty when there is none.
    pub audit_leaf: String,
    /// What the tables hold.
    pub tables: Vec<TableDigest>,
}

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDigest {
    /// Its name.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// SHA-256 of its rows in the order of their keys.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub sha256: [u8; 32],
}

fn to_hex<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

fn from_hex<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = unhex(&text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| de::Error::custom(format!("not {N} bytes in hexadecimal")))
}
