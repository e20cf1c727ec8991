//! The host: threads with VMs, the filter chain, and the world around them.

mod builder;
mod call;
mod deliver;
mod events;
mod inspect;
mod lifecycle;
mod native;
mod thread;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::StartError;
use crate::exchange::Exchange;
use crate::flow::{Dir, Link, Slot, Stream, StreamRef};
use crate::headers::HeaderMap;
use crate::message::{Elsewhere, Request};
use crate::native::NativePlugin;
use crate::plugin::Plugin;
use crate::spec::{FailurePolicy, RootKey, VmKey};
use crate::upstream::Upstream;
use crate::vm::Vm;
use crate::world::World;

pub use builder::HostBuilder;
use deliver::Item;
pub use inspect::VmReport;
pub use lifecycle::StartFailure;
use thread::Thread;
use traffic::DOWNSTREAM_CONNECTION_TERMINATION;

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
    opened: BTreeMap<(u64, usize), native::Opened>,
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
    /// Starts the description of a host.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// Sends a request and lets everything happen that is due at this moment of virtual time. A request
    /// that waits for something later (a delayed answer, a held callout) is not over yet: move on with
    /// [`advance`](Self::advance) and look at the same [`Exchange`] again.
    ///
    /// # Panics
    /// If the request is for a worker that the host does not have.
    #[track_caller]
    pub fn request(&mut self, request: Request) -> Exchange {
        let stream = self.open_stream(&request);
        let exchange = Exchange::new(&stream, &self.world);
        match request.elsewhere {
            None => self.send(&stream, &request),
            Some(Elsewhere::Filter(status)) => self.refuse_before_plugins(&stream, &request, status),
            Some(Elsewhere::Codec) => self.refuse_by_codec(&stream),
        }
        self.settle();
        exchange
    }

    fn send(&mut self, stream: &StreamRef, request: &Request) {
        let more = request.open || !request.body.is_empty() || !request.trailers.is_empty();
        let mut locked = stream.lock();
        locked.route = Some((self.router)(&request.headers));
        locked.exact = request.exact;
        let mut headers = request.headers.clone();
        if request.http2 {
            headers.join_cookies();
        }
        locked.way_mut(Dir::Request).headers = Some(headers);
        drop(locked);
        self.add_envoy_headers(stream, request.exact);
        self.deliver(stream, Dir::Request, 0, Item::Headers { end: !more });
        let ends = !request.open && request.trailers.is_empty();
        let last = request.body.len();
        for (at, part) in request.body.iter().enumerate() {
            self.feed_body(stream, part, ends && request.http2 && at + 1 == last);
        }
        if !request.trailers.is_empty() {
            self.feed_trailers(stream, request.trailers.clone());
        } else if more && ends && !request.http2 {
            self.feed_body(stream, &[], true);
        }
    }

    /// What Envoy's connection manager adds before the filters see the request.
    fn add_envoy_headers(&self, stream: &StreamRef, exact: bool) {
        if exact {
            return;
        }
        let id = self.world.lock().random.uuid();
        let mut locked = stream.lock();
        let headers = locked.way_mut(Dir::Request).headers.get_or_insert_default();
        let scheme = headers.get(":scheme").unwrap_or("http").to_owned();
        if headers.get_bytes("x-forwarded-proto").is_none() {
            headers.add("x-forwarded-proto", scheme);
        }
        if headers.get_bytes("x-request-id").is_none() {
            headers.add("x-request-id", id);
        }
    }

    fn feed_body(&mut self, stream: &StreamRef, part: &[u8], end: bool) {
        let mut locked = stream.lock();
        let way = locked.way_mut(Dir::Request);
        way.bytes += part.len() as u64;
        way.ended |= end;
        drop(locked);
        self.deliver(stream, Dir::Request, 0, Item::Data { bytes: part.to_vec(), end });
    }

    fn feed_trailers(&mut self, stream: &StreamRef, trailers: HeaderMap) {
        let mut locked = stream.lock();
        let way = locked.way_mut(Dir::Request);
        way.trailers = Some(trailers);
        way.ended = true;
        drop(locked);
        self.deliver(stream, Dir::Request, 0, Item::Trailers);
    }

    /// Sends another part of the body of a request that [`stays open`](Request::stay_open).
    ///
    /// # Panics
    /// If the exchange is of another host.
    #[track_caller]
    pub fn send_body(&mut self, exchange: &Exchange, part: impl AsRef<[u8]>) {
        self.own(exchange);
        self.feed_body(exchange.stream(), part.as_ref(), false);
        self.settle();
    }

    /// Ends the body of a request that stays open.
    ///
    /// # Panics
    /// If the exchange is of another host.
    #[track_caller]
    pub fn end_request(&mut self, exchange: &Exchange) {
        self.own(exchange);
        self.feed_body(exchange.stream(), &[], true);
        self.settle();
    }

    /// Ends a request that stays open with trailers.
    ///
    /// # Panics
    /// If the exchange is of another host.
    #[track_caller]
    pub fn send_trailers(&mut self, exchange: &Exchange, trailers: impl Into<HeaderMap>) {
        self.own(exchange);
        self.feed_trailers(exchange.stream(), trailers.into());
        self.settle();
    }

    /// Two hosts in one test are easily mixed up, and what is said of the wrong one looks like a plugin's fault.
    #[track_caller]
    pub(crate) fn own(&self, exchange: &Exchange) {
        assert!(exchange.is_of(&self.world), "this exchange is of another host");
    }

    /// The client closes its connection before the exchange is over.
    ///
    /// # Panics
    /// If the exchange is of another host.
    #[track_caller]
    pub fn disconnect(&mut self, exchange: &Exchange) {
        self.own(exchange);
        self.reset(exchange.stream(), "downstream_remote_disconnect", DOWNSTREAM_CONNECTION_TERMINATION);
        self.settle();
    }

    /// Moves virtual time on; ticks, time-outs and answers happen in their order on the way.
    pub fn advance(&mut self, by: Duration) {
        let until = self.world.lock().clock.elapsed().saturating_add(by);
        self.run_until(until);
        self.world.lock().clock.move_to(until);
    }

    /// Virtual time since the host started.
    pub fn elapsed(&self) -> Duration {
        self.world.lock().clock.elapsed()
    }

    /// Sets the wall clock (nanoseconds since 1970); timers and the monotonic clock are not touched.
    pub fn set_wall_clock(&mut self, unix_nanos: u64) {
        self.world.lock().clock.set_unix_nanos(unix_nanos);
    }

    #[track_caller]
    fn open_stream(&mut self, request: &Request) -> StreamRef {
        let (worker, workers) = (request.worker, self.workers.len());
        assert!(
            worker < workers,
            "there is no worker {worker}: this host has {workers} (HostBuilder::workers)"
        );
        let (now, unix) = {
            let world = self.world.lock();
            (world.clock.elapsed(), world.clock.unix_nanos())
        };
        let mut stream = Stream::new(self.world.next_id(), worker, now, unix);
        stream.properties = request.properties.clone();
        stream.generation = self.generation;
        let stream = StreamRef::new(stream);
        for plugin in 0..self.plugins.len() {
            let link = self.link(worker, plugin, &stream);
            let slot =
                Slot { plugin, link, sides: Default::default(), created: false, failed: false, death: None };
            stream.lock().slots.push(slot);
        }
        stream.lock().slots.extend(self.native_slots());
        let id = stream.lock().id;
        self.open.insert(id, stream.clone());
        stream
    }

    /// Binds a stream to a plugin on its worker, reloading a dead VM where the policy says so.
    fn link(&mut self, worker: usize, plugin: usize, stream: &StreamRef) -> Link {
        let policy = self.policy(plugin);
        self.reload_if_due(worker, plugin);
        let (spec, thread) = (&self.plugins[plugin].spec, &mut self.workers[worker]);
        let Some(handle) = &thread.handles[plugin] else { return Link::Skipped };
        let (vm, root) = (handle.vm, handle.root);
        let machine = &mut thread.vms[vm];
        if machine.is_failed() {
            return if policy == FailurePolicy::Open { Link::Skipped } else { Link::Dead };
        }
        let (id, slot) = {
            let locked = stream.lock();
            (locked.id, locked.slots.len())
        };
        let context = machine.state_mut().add_stream_context(root, spec, stream.clone(), slot, id);
        Link::Live { vm, context }
    }

    pub(crate) fn policy(&self, plugin: usize) -> FailurePolicy {
        self.plugins[plugin].spec.policy
    }

    pub(crate) fn vm_mut(&mut self, worker: usize, vm: usize) -> &mut Vm {
        &mut self.workers[worker].vms[vm]
    }
}

impl Drop for Host {
    /// Misuse of the ABI that no test looked at is a failure of the test, and so is a fault that never struck.
    fn drop(&mut self) {
        let idle = self.world.faults.disarm();
        let misuse = inspect::list(&self.misuse());
        if std::thread::panicking() && !misuse.is_empty() {
            // It may be the cause of what failed.
            eprintln!("the module misused the Proxy-Wasm ABI:\n{misuse}");
        }
        if !self.misuse_is_failure || std::thread::panicking() {
            return;
        }
        assert!(
            misuse.is_empty(),
            "the module misused the Proxy-Wasm ABI (see HostBuilder::allow_misuse):\n{misuse}"
        );
        assert!(idle.is_empty(), "{}", inspect::never_struck(&idle));
    }
}
