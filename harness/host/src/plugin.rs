//! A plugin: a module with its configuration, as a `WasmPlugin` resource or an HTTP filter entry has it.

use std::sync::Arc;

use crate::module::Module;
use crate::spec::{FailurePolicy, PluginSpec, VmKey};

/// A plugin to put into the filter chain of a [`Host`](crate::Host).
#[derive(Clone, Debug)]
pub struct Plugin {
    pub(crate) module: Module,
    pub(crate) spec: Arc<PluginSpec>,
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
        VmKey::new(&self.spec, self.module.digest())
    }
}
