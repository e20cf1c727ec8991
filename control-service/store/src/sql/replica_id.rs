//! What the processes that serve one database are called.

use portcullis_control_domain::random::random;
use portcullis_protocol::audit::hex;

/// One start of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub(super) String);

impl ReplicaId {
    pub(super) fn generate() -> Self {
        Self(hex(&random::<8>()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
