//! What a guarded mesh has besides.

use std::collections::BTreeMap;

use tokio::task::JoinHandle;

use crate::control::{Admin, Control};

/// What guards a mesh: the control service, and what the harness does in the clusters' name.
pub(super) struct Guard {
    pub(super) control: Control,
    pub(super) admin: Admin,
    pub(super) heartbeats: BTreeMap<&'static str, JoinHandle<()>>,
    pub(super) tokens: BTreeMap<&'static str, String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.heartbeats.values().for_each(JoinHandle::abort);
    }
}
