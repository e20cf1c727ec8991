//! The store's life: which one it is, and how far it is.

use portcullis_sql::{Channel, Connection, params};

use super::failure::Failure;

/// Called by whoever changed the snapshot.
pub(super) const CHANGED: Channel = Channel::new("portcullis_changed");

/// Name and progress of the store's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) generation: [u8; 16],
    pub(super) revision: u64,
    pub(super) floor: u64,
}

impl Life {
    /// Before the first write.
    pub(super) const NONE: Self = Self { generation: [0; 16], revision: 0, floor: 0 };
}

/// Reads the store's life; zeros before the first write.
pub(super) fn life(connection: &Connection) -> Result<Life, Failure> {
    let found = connection.query_optional(
        "SELECT generation, revision, floor FROM snapshot_life",
        params![],
        |row| Ok(Life { generation: row.get(0)?, revision: row.get(1)?, floor: row.get(2)? }),
    )?;
    Ok(found.unwrap_or(Life::NONE))
}
