//! The host: threads with VMs, the filter chain, and the world around them.

mod builder;
mod call;
mod client;
mod deliver;
mod events;
mod failure;
mod inspect;
mod lifecycle;
mod native;
mod opened;
mod thread;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::StartError;
use crate::exchange::Exchange;
use crate::flow::StreamRef;
use crate::headers::HeaderMap;
use crate::native::NativePlugin;
use crate::plugin::Plugin;
use crate::spec::{FailurePolicy, RootKey, VmKey};
use crate::upstream::Upstream;
use crate::vm::Vm;
use crate::world::World;

pub use builder::HostBuilder;
pub use failure::StartFailure;
pub use inspect::VmReport;
use opened::Opened;
use thread::Thread;

pub(crate) type Router = Box<dyn Fn(&HeaderMap) -> Option<String> + Send>;

/// A proxy with one filter chain: a main thread and workers, each with VMs of its own, and a world of
/// scripted services around them, under a clock that only the test moves.
///
/// ```no_run
/// use portcullis_testhost::{Answer, Host, Module, Plugin, Request};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     // Given a plugin and a world …
///     let module = Module::from_file("my_filter.wasm")?;
///     let mut host = Host::builder()
///         .plugin(Plugin::new(&module))
///         .upstream(Answer::ok().body("hello"))
///         .start()?;
///     // … when this request comes …
///     let exchange = host.request(Request::get("/"));
///     // … then:
///     exchange.assert_status(200).assert_upstream_header("x-stamp", "seen");
///     Ok(())
/// }
/// ```
pub struct Host {
    pub(crate) world: Arc<World>,
    plugins: Vec<Plugin>,
    /// Streams in native filters, by stream and place in the chain. They go before their plugins do.
    opened: BTreeMap<(u64, usize), Opened>,
    /// A chain of native filters, in place of the plugins.
    natives: Vec<Box<dyn NativePlugin>>,
    main: Thread,
    workers: Vec<Thread>,
    router: Router,
    upstreams: BTreeMap<String, Upstream>,
    /// None for as long as it takes.
    route_timeout: Option<Duration>,
    open: BTreeMap<u64, StreamRef>,
    failures: Vec<StartFailure>,
    /// How the canaries of plugins in living VMs went.
    canaries: BTreeMap<(VmKey, RootKey), Result<(), StartError>>,
    /// VMs of chains that were replaced, until the drain.
    draining: Vec<VmKey>,
    misuse_is_failure: bool,
    generation: u64,
}

impl Host {
    /// Two hosts in one test are easily mixed up, and what is said of the wrong one looks like a plugin's fault.
    #[track_caller]
    pub(crate) fn own(&self, exchange: &Exchange) {
        assert!(exchange.is_of(&self.world), "this exchange is of another host");
    }

    pub(crate) fn policy(&self, plugin: usize) -> FailurePolicy {
        self.plugins[plugin].spec.policy
    }

    pub(crate) fn vm_mut(&mut self, worker: usize, vm: usize) -> &mut Vm {
        &mut self.workers[worker].vms[vm]
    }
}
