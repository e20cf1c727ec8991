//! A plugin: a module with its configuration, as a `WasmPlugin` resource or an HTTP filter entry has it.

use std::sync::Arc;
use std::time::Duration;

use crate::module::Module;

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

/// A plugin to put into the filter chain of a [`Host`](crate::Host).
#[derive(Clone, Debug)]
pub struct Plugin {
    pub(crate) module: Module,
    pub(crate) spec: Arc<PluginSpec>,
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

impl Plugin {
    /// A plugin of this module, with empty configuration, empty ids and [`FailurePolicy::Closed`].
    pub fn new(module: &Module) -> Self {
        let spec = PluginSpec {
            name: module.name().to_owned(),
            root_id: String::new(),
            vm_id: String::new(),
            vm_config: Arc::default(),
            config: Arc::default(),
            env: Vec::new(),
            policy: FailurePolicy::Closed,
        };
        Self { module: module.clone(), spec: Arc::new(spec) }
    }

    /// The name in messages and in the property `plugin_name`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.edit().name = name.into();
        self
    }

    /// The root id (Istio: `pluginName`), by which one module can hold several plugins.
    #[must_use]
    pub fn root_id(mut self, root_id: impl Into<String>) -> Self {
        self.edit().root_id = root_id.into();
        self
    }

    /// The VM's id: shared data and queues are scoped by it.
    #[must_use]
    pub fn vm_id(mut self, vm_id: impl Into<String>) -> Self {
        self.edit().vm_id = vm_id.into();
        self
    }

    /// The plugin's configuration, read in `proxy_on_configure`.
    #[must_use]
    pub fn config(mut self, config: impl AsRef<[u8]>) -> Self {
        self.edit().config = config.as_ref().into();
        self
    }

    /// The VM's configuration, read in `proxy_on_vm_start`.
    #[must_use]
    pub fn vm_config(mut self, config: impl AsRef<[u8]>) -> Self {
        self.edit().vm_config = config.as_ref().into();
        self
    }

    /// An environment variable of the VM (Istio: `vmConfig.env`).
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.edit().env.push((name.into(), value.into()));
        self
    }

    /// What happens when the plugin's VM is dead.
    #[must_use]
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.edit().policy = policy;
        self
    }

    fn edit(&mut self) -> &mut PluginSpec {
        Arc::make_mut(&mut self.spec)
    }

    /// Plugins with the same key run in the same VM of a worker.
    pub(crate) fn vm_key(&self) -> VmKey {
        VmKey(Arc::new((
            self.spec.vm_id.clone(),
            self.spec.vm_config.to_vec(),
            self.module.digest().to_owned(),
        )))
    }
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

/// What makes two plugins of a VM share a root context: besides id and configuration, the failure
/// policy (but not its back-off).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RootKey {
    root_id: String,
    config: Arc<[u8]>,
    policy: &'static str,
}
