//! Protobuf messages between the filters and the control service, generated from
//! `proto/portcullis/mesh/v1`.
//!
//! Protobuf, because a filter and a service one minor version apart must understand each other:
//! unknown fields are skipped, missing ones read as empty. The messages carry raw values; who reads
//! them makes checked types from them.

use std::fmt;

include!(concat!(env!("OUT_DIR"), "/portcullis.mesh.v1.rs"));

/// The newest snapshot format that this code writes and reads.
pub const SNAPSHOT_FORMAT: u32 = 1;

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind())
            .field("value_bytes", &self.value.len())
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IdentitySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentitySigner").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for IntrospectionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionRequest").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl fmt::Debug for SignedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedMessage").field("message_bytes", &self.message.len()).finish_non_exhaustive()
    }
}
