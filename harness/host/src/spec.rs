//! A plugin's configuration without its code, and what makes two plugins share.

use std::sync::Arc;
use std::time::Duration;

/// What happens to requests when a plugin's VM is dead (Envoy's `failure_policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Requests get 503 until a new configuration arrives (`FAIL_CLOSED`).
    Closed,
    /// Requests pass without the plugin (`FAIL_OPEN`).
    Open,
    /// Requests get 503 until the VM is made anew, which the first request does that comes later than
    /// `backoff` after the VM's last start (`FAIL_RELOAD`).
    Reload {
        /// The least time between two starts of the VM. Envoy adds jitter to it; this host does not.
        backoff: Duration,
    },
}

impl FailurePolicy {
    /// `FAIL_RELOAD` with Envoy's default back-off of one second.
    pub fn reload() -> Self {
        Self::Reload { backoff: Duration::from_secs(1) }
    }
}

/// A plugin's configuration without its code.
#[derive(Clone, Debug)]
pub(crate) struct PluginSpec {
    pub(crate) name: String,
    pub(crate) root_id: String,
    pub(crate) vm_id: String,
    pub(crate) vm_config: Arc<[u8]>,
    pub(crate) config: Arc<[u8]>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) policy: FailurePolicy,
}

impl PluginSpec {
    /// Plugins with the same key share one root context in a VM.
    pub(crate) fn root_key(&self) -> RootKey {
        RootKey {
            root_id: self.root_id.clone(),
            config: Arc::clone(&self.config),
            policy: match self.policy {
                FailurePolicy::Closed => "closed",
                FailurePolicy::Open => "open",
                FailurePolicy::Reload { .. } => "reload",
            },
        }
    }
}

/// What makes two plugins share a VM: the VM's id and configuration, and the code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VmKey(Arc<(String, Vec<u8>, String)>);

impl VmKey {
    pub(crate) fn new(spec: &PluginSpec, digest: &str) -> Self {
        Self(Arc::new((spec.vm_id.clone(), spec.vm_config.to_vec(), digest.to_owned())))
    }
}

/// What makes two plugins of a VM share a root context: besides id and configuration, the failure
/// policy (but not its back-off).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RootKey {
    root_id: String,
    config: Arc<[u8]>,
    policy: &'static str,
}
