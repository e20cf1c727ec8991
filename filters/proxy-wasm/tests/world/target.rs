//! Which target a test runs on, and a plugin in the words of both.

use std::cell::{Cell, RefCell};

use portcullis_envoy::abi::{ConfigEvents, ConfigFactory, Setup};
use portcullis_envoy_host::{Filter, Process};
use portcullis_testhost::{FailurePolicy, HostBuilder};
use serde_json::Value;

/// What the engine runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The module as it is shipped, in a virtual machine.
    Wasm,
    /// The native module, in the test's process.
    Native,
}

thread_local! {
    static TARGET: Cell<Target> = const { Cell::new(Target::Wasm) };
    static PROCESS: RefCell<Option<Process>> = const { RefCell::new(None) };
}

/// The target of this test.
pub fn target() -> Target {
    TARGET.get()
}

/// The process of the native filters that were installed last.
pub fn process() -> Process {
    PROCESS.with_borrow(Clone::clone).expect("native filters were installed")
}

/// Runs a test on a target.
pub fn on(target: Target, test: impl FnOnce()) {
    TARGET.set(target);
    test();
}

/// Makes a test of each function for each target. A test that only one of them can pass is a `#[test]` by
/// itself and says why.
#[macro_export]
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod wasm {
            $(#[test] fn $test() { super::world::on(super::world::Target::Wasm, super::$test); })*
        }
        mod native {
            $(#[test] fn $test() { super::world::on(super::world::Target::Native, super::$test); })*
        }
    };
}

/// A plugin of the chain.
#[derive(Clone)]
pub struct Plugin {
    root_id: String,
    config: Vec<u8>,
    token: bool,
    reloads: bool,
}

/// A plugin with the mesh token.
pub fn plugin(name: &str, config: &Value) -> Plugin {
    Plugin { root_id: name.to_owned(), config: config.to_string().into_bytes(), token: true, reloads: false }
}

impl Plugin {
    /// The same without the mesh token.
    pub fn without_token(self) -> Self {
        Self { token: false, ..self }
    }

    /// The same with a VM that is made anew when it is dead. Native code has none.
    pub fn reloading(self) -> Self {
        Self { reloads: true, ..self }
    }

    /// The same with another configuration.
    pub fn config(self, config: impl AsRef<[u8]>) -> Self {
        Self { config: config.as_ref().to_vec(), ..self }
    }

    /// The variables of its environment.
    fn env(&self) -> &'static [(&'static str, &'static str)] {
        const INSTANCE: (&str, &str) = ("PORTCULLIS_INSTANCE", "gw-1");
        if self.token { &[("PORTCULLIS_MESH_TOKEN", "mesh-token"), INSTANCE] } else { &[INSTANCE] }
    }

    /// As a Wasm plugin.
    pub fn wasm(&self) -> portcullis_testhost::Plugin {
        let module = if self.is_probe() { super::body_probe() } else { super::module() };
        let plugin = portcullis_testhost::Plugin::new(module)
            .name(&self.root_id)
            .root_id(&self.root_id)
            .config(&self.config);
        let plugin = if self.reloads { plugin.on_failure(FailurePolicy::reload()) } else { plugin };
        self.env().iter().fold(plugin, |plugin, (name, value)| plugin.env(*name, *value))
    }

    pub fn native(&self, process: &Process) -> Filter {
        let factory: ConfigFactory = if self.is_probe() { probe } else { portcullis_envoy::new_config };
        Filter::new(process, factory, &self.root_id, &self.config)
    }

    /// Whether it is of the module with the stage that reads bodies.
    fn is_probe(&self) -> bool {
        portcullis_body_probe::root(self.root_id.as_bytes()).is_some()
    }
}

fn probe(setup: &Setup<'_>) -> Result<Box<dyn ConfigEvents>, String> {
    portcullis_envoy::new_config_of(setup, portcullis_body_probe::root(setup.name()))
}

/// Puts plugins into a host, on the target of this test.
pub fn install(builder: HostBuilder, plugins: &[Plugin]) -> HostBuilder {
    match target() {
        Target::Wasm => plugins.iter().fold(builder, |builder, plugin| builder.plugin(plugin.wasm())),
        Target::Native => {
            let process = Process::new(plugins.first().map(Plugin::env).unwrap_or_default());
            PROCESS.set(Some(process.clone()));
            let native = |plugin: &Plugin| Box::new(plugin.native(&process));
            plugins.iter().fold(builder, |builder, plugin| builder.native(native(plugin)))
        }
    }
}
