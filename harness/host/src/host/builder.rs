//! The description of a host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::thread::Thread;
use super::{Host, Router};
use crate::codes::LogLevel;
use crate::error::StartError;
use crate::headers::HeaderMap;
use crate::message::Answer;
use crate::native::NativePlugin;
use crate::plugin::Plugin;
use crate::property::{PropertyPath, PropertyTree, Value};
use crate::upstream::Upstream;
use crate::vm_id::VmId;
use crate::world::{Fault, Limits, Settings, World};

/// The cluster of the default route.
const DEFAULT_CLUSTER: &str = "upstream";

/// Each worker has VMs of its own, each with some gigabytes of address space.
const MAX_WORKERS: usize = 1024;

/// How long an answer may take in all, unless the route says otherwise.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

/// Describes a host; made by [`Host::builder`].
pub struct HostBuilder {
    plugins: Vec<Plugin>,
    natives: Vec<Box<dyn NativePlugin>>,
    workers: usize,
    seed: u64,
    start_nanos: u64,
    log_level: LogLevel,
    tracing: bool,
    limits: Limits,
    route_timeout: Option<Duration>,
    clusters: BTreeMap<String, Upstream>,
    upstreams: BTreeMap<String, Upstream>,
    router: Option<Router>,
    properties: PropertyTree,
    faults: Vec<Fault>,
    misuse_is_failure: bool,
}

impl Host {
    /// Starts the description of a host.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }
}

impl Default for HostBuilder {
    fn default() -> Self {
        Self {
            plugins: Vec::new(),
            natives: Vec::new(),
            workers: 1,
            seed: 0,
            // 2026-01-01T00:00:00Z
            start_nanos: 1_767_225_600_000_000_000,
            log_level: LogLevel::Trace,
            tracing: true,
            limits: Limits::default(),
            route_timeout: Some(ROUTE_TIMEOUT),
            clusters: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            router: None,
            properties: PropertyTree::default(),
            faults: Vec::new(),
            misuse_is_failure: true,
        }
    }
}

impl HostBuilder {
    /// Adds a plugin at the end of the filter chain. Plugins of the same module, VM id and VM
    /// configuration share one VM per thread.
    #[must_use]
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Adds a native filter at the end of the filter chain, behind all plugins.
    #[must_use]
    pub fn native(mut self, plugin: Box<dyn NativePlugin>) -> Self {
        self.natives.push(plugin);
        self
    }

    /// The number of workers (default 1).
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The seed of all randomness (default 0).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The wall clock at the start, in nanoseconds since 1970 (default: 2026-01-01T00:00:00Z).
    #[must_use]
    pub fn starts_at(mut self, unix_nanos: u64) -> Self {
        self.start_nanos = unix_nanos;
        self
    }

    /// The least severe level that is logged (default: all).
    #[must_use]
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = level;
        self
    }

    /// Switches the trace of hostcalls off, for measurements.
    #[must_use]
    pub fn without_trace(mut self) -> Self {
        self.tracing = false;
        self
    }

    /// Bounds of what modules may use.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets answers take as long as they like, as `timeout: 0s` of a route does (default: 15 s, as in Envoy).
    #[must_use]
    pub fn without_route_timeout(mut self) -> Self {
        self.route_timeout = None;
        self
    }

    /// The service behind the default route (default: 200 without a body).
    #[must_use]
    pub fn upstream(self, upstream: impl Into<Upstream>) -> Self {
        self.upstream_named(DEFAULT_CLUSTER, upstream)
    }

    /// A service that a [`router`](Self::router) can choose.
    #[must_use]
    pub fn upstream_named(mut self, name: &str, upstream: impl Into<Upstream>) -> Self {
        self.upstreams.insert(name.to_owned(), upstream.into());
        self
    }

    /// Chooses the upstream by the request's headers; `None` is "no route" (404). It is asked before the
    /// first filter and again after a filter changed the request's headers or cleared the route cache.
    #[must_use]
    pub fn router(mut self, router: impl Fn(&HeaderMap) -> Option<String> + Send + 'static) -> Self {
        self.router = Some(Box::new(router));
        self
    }

    /// A cluster that plugins can call; calls to any other name fail as in Envoy.
    #[must_use]
    pub fn cluster(mut self, name: &str, upstream: impl Into<Upstream>) -> Self {
        self.clusters.insert(name.to_owned(), upstream.into());
        self
    }

    /// Sets a property for all contexts, for example `node.id`.
    #[must_use]
    pub fn property(mut self, path: impl Into<PropertyPath>, value: impl Into<Value>) -> Self {
        self.properties.set(path, value);
        self
    }

    /// Arms a fault before the VMs start.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Misuse of the ABI does not fail the test; [`Host::misuse`] still lists it.
    #[must_use]
    pub fn allow_misuse(mut self) -> Self {
        self.misuse_is_failure = false;
        self
    }

    /// Starts the VMs as Envoy does: every plugin is tried in a canary VM first, then set up on the main
    /// thread and on each worker.
    ///
    /// # Errors
    /// [`StartError`] if Envoy would reject the configuration: nothing to run, or a canary that cannot
    /// be started or configured. A later failure on the main thread or a worker is not an error here, as
    /// it is none in Envoy: see [`Host::start_failures`].
    pub fn start(self) -> Result<Host, StartError> {
        if self.plugins.is_empty() && self.natives.is_empty() {
            return Err(StartError::NoPlugin);
        }
        if self.workers == 0 {
            return Err(StartError::NoWorker);
        }
        if self.workers > MAX_WORKERS {
            return Err(StartError::TooManyWorkers { asked: self.workers, most: MAX_WORKERS });
        }
        let world = Arc::new(World::new(Settings {
            limits: self.limits,
            tracing: self.tracing,
            log_level: self.log_level,
            start_nanos: self.start_nanos,
            seed: self.seed,
            clusters: self.clusters,
            properties: self.properties,
        }));
        for fault in self.faults {
            world.faults.arm(fault);
        }
        let mut upstreams = self.upstreams;
        upstreams.entry(DEFAULT_CLUSTER.to_owned()).or_insert_with(|| Answer::ok().into());
        let mut host = Host {
            world,
            plugins: Vec::new(),
            natives: self.natives,
            opened: BTreeMap::new(),
            main: Thread::new(VmId::Main),
            workers: (0..self.workers).map(|n| Thread::new(VmId::Worker(n))).collect(),
            router: self.router.unwrap_or_else(|| Box::new(|_| Some(DEFAULT_CLUSTER.to_owned()))),
            upstreams,
            route_timeout: self.route_timeout,
            open: BTreeMap::new(),
            failures: Vec::new(),
            canaries: BTreeMap::new(),
            draining: Vec::new(),
            misuse_is_failure: self.misuse_is_failure,
            generation: 0,
        };
        if let Err(error) = host.set_up(self.plugins).and_then(|()| host.set_up_native()) {
            host.misuse_is_failure = false;
            return Err(error);
        }
        host.settle();
        Ok(host)
    }
}
