//! Filters of native code in the chain, in place of Wasm plugins: as Envoy runs a dynamic module.
//!
//! The host knows nothing of the module's interface. Whoever speaks it implements [`NativePlugin`] and
//! [`NativeFilter`], and uses what the host hands over: a [`PluginHandle`] and, for each stream, a
//! [`StreamHandle`]. Replies and resumptions take effect when the call into the filter has returned.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::codes::{Callback, LogLevel, MapKind, MetricKind, Status};
use crate::flow::{Dir, StreamRef};
use crate::headers::HeaderMap;
use crate::message::Request;
use crate::property::Value;
use crate::vm_id::VmId;
use crate::world::{CallKind, CallStart, Event, LogLine, World};

/// What a filter answers to a piece of a stream, in Envoy's numbers.
pub type Action = u32;

/// One configuration of a native filter, for all streams.
pub trait NativePlugin {
    /// What assertions and errors call it.
    fn name(&self) -> &str;

    /// Sets it up, once, on the main thread.
    ///
    /// # Errors
    /// When the module rejects the configuration.
    fn configure(&mut self, handle: PluginHandle) -> Result<(), String>;

    /// How often it ticks.
    fn tick_period(&self) -> Duration;

    /// A tick on the main thread.
    fn on_tick(&mut self);

    /// [`PluginHandle::wake`] was called.
    fn on_wake(&mut self, event: u64);

    /// A callout has ended; `None` when there is no answer.
    fn on_call_ended(&mut self, call: u64, answer: Option<(HeaderMap, Vec<u8>)>);

    /// A stream begins.
    fn open(&mut self, stream: StreamHandle) -> Box<dyn NativeFilter>;
}

/// A stream in a native filter. It ends when it is dropped.
pub trait NativeFilter {
    /// Headers, a piece of a body, or trailers, either way.
    fn on_piece(&mut self, piece: Callback, end: bool) -> Action;

    /// [`StreamWaker::wake`] was called.
    fn on_wake(&mut self, event: u64);

    /// The stream is complete.
    fn on_complete(&mut self);
}

/// The number that stands for native code where VMs have their instance.
pub(crate) const NATIVE: u64 = 0;

/// What a filter asked for during a call.
pub(crate) enum Wish {
    Resume(Dir),
    Reply { status: u32, headers: HeaderMap, body: Vec<u8>, details: String },
}

pub(crate) type Wishes = Arc<Mutex<VecDeque<Wish>>>;

/// What a plugin can do outside of streams.
#[derive(Clone)]
pub struct PluginHandle {
    pub(crate) world: Arc<World>,
    pub(crate) plugin: usize,
}

impl std::fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHandle").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl PluginHandle {
    /// The wall clock in nanoseconds since 1970, and the monotonic one in nanoseconds.
    pub fn clocks(&self) -> (u64, u64) {
        let world = self.world.lock();
        (world.clock.unix_nanos(), world.clock.monotonic_nanos())
    }

    /// Fills bytes from the host's seeded randomness.
    pub fn random(&self, out: &mut [u8]) {
        self.world.lock().random.fill(out);
    }

    /// Writes a line to the host's log.
    pub fn log(&self, level: LogLevel, message: String) {
        let mut world = self.world.lock();
        let at = world.clock.elapsed();
        world.logs.push(LogLine { at, vm: VmId::Main, context: 0, exchange: None, level, message });
    }

    /// Lets [`NativePlugin::on_wake`] run on the main thread.
    pub fn wake(&self, event: u64) {
        let event = Event::NativeWake { plugin: self.plugin, event };
        self.world.lock().clock.schedule(Duration::ZERO, event);
    }

    /// Sends a callout and answers its number; `None` if there is no such cluster.
    pub fn call(&self, cluster: &str, request: Request, timeout: Duration) -> Option<u64> {
        let id = self.world.next_id();
        let mut world = self.world.lock();
        let started = world.clock.elapsed();
        let root = u32::try_from(self.plugin).unwrap_or(u32::MAX);
        let start = CallStart {
            id,
            kind: CallKind::Http,
            vm: VmId::Main,
            instance: NATIVE,
            root,
            token: 0,
            timeout,
            started,
        };
        world.dispatch(cluster, start, request).then_some(id)
    }

    /// Makes a metric known.
    pub fn define_metric(&self, kind: MetricKind, name: &str) {
        self.world.lock().metrics.define(kind, name);
    }

    /// Adds to a counter or a gauge.
    ///
    /// # Errors
    /// When there is no such metric.
    pub fn increment_metric(&self, kind: MetricKind, name: &str, by: i64) -> Result<(), Status> {
        self.world.lock().metrics.increment(kind, name, by)
    }

    /// Sets a gauge, or adds a value to a histogram.
    ///
    /// # Errors
    /// When there is no such metric.
    pub fn record_metric(&self, kind: MetricKind, name: &str, value: u64) -> Result<(), Status> {
        self.world.lock().metrics.record(kind, name, value)
    }
}

/// A stream as a native filter sees it.
#[derive(Clone)]
pub struct StreamHandle {
    pub(crate) stream: StreamRef,
    pub(crate) slot: usize,
    pub(crate) plugin: PluginHandle,
    pub(crate) wishes: Wishes,
}

impl std::fmt::Debug for StreamHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamHandle").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl StreamHandle {
    /// The plugin that the filter is of.
    pub fn plugin(&self) -> &PluginHandle {
        &self.plugin
    }

    /// The worker that has the stream.
    pub fn worker(&self) -> usize {
        self.stream.lock().worker
    }

    /// Looks at headers or trailers, or changes them; `None` while there are none of that kind.
    pub fn with_headers<T>(&self, map: MapKind, act: impl FnOnce(&mut HeaderMap) -> T) -> Option<T> {
        let mut stream = self.stream.lock();
        let way = stream.way_mut(direction(map)?);
        let found = match map {
            MapKind::RequestHeaders | MapKind::ResponseHeaders => way.headers.as_mut(),
            _ => way.trailers.as_mut(),
        };
        found.map(act)
    }

    /// Lets the route be chosen anew.
    pub fn clear_route_cache(&self) {
        self.stream.lock().forget_route();
    }

    /// Looks at a body: what the host holds back of it at this filter, or the piece in hand.
    pub fn with_body<T>(&self, request: bool, held: bool, look: impl FnOnce(&[u8]) -> T) -> T {
        let dir = if request { Dir::Request } else { Dir::Response };
        let mut stream = self.stream.lock();
        if held { look(&stream.side_mut(dir, self.slot).held) } else { look(&stream.way(dir).flight) }
    }

    /// An attribute of the stream.
    pub fn attribute(&self, path: &[&str]) -> Option<Value> {
        let elapsed = self.plugin.world.lock().clock.elapsed();
        let known = self.stream.lock().property(path, elapsed);
        known.or_else(|| self.plugin.world.properties.get(path).cloned())
    }

    /// What an earlier filter left under a key.
    pub fn state(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.stream.lock().filter_state.get(key).cloned()
    }

    /// Leaves something for later filters.
    pub fn set_state(&self, key: &[u8], value: &[u8]) {
        self.stream.lock().filter_state.insert(key.to_vec(), value.to_vec());
    }

    /// Answers the request.
    pub fn reply(&self, status: u32, headers: HeaderMap, body: Vec<u8>, details: String) {
        self.wish(Wish::Reply { status, headers, body, details });
    }

    /// Lets the request, or the response, go on.
    pub fn resume(&self, request: bool) {
        self.wish(Wish::Resume(if request { Dir::Request } else { Dir::Response }));
    }

    fn wish(&self, wish: Wish) {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner).push_back(wish);
    }

    /// How to wake the stream from elsewhere.
    pub fn waker(&self) -> StreamWaker {
        let id = self.stream.lock().id;
        StreamWaker { world: Arc::clone(&self.plugin.world), stream: id, slot: self.slot }
    }
}

fn direction(map: MapKind) -> Option<Dir> {
    match map {
        MapKind::RequestHeaders | MapKind::RequestTrailers => Some(Dir::Request),
        MapKind::ResponseHeaders | MapKind::ResponseTrailers => Some(Dir::Response),
        _ => None,
    }
}

/// Wakes a stream; once that is gone it does nothing.
#[derive(Clone)]
pub struct StreamWaker {
    world: Arc<World>,
    stream: u64,
    slot: usize,
}

impl std::fmt::Debug for StreamWaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWaker").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl StreamWaker {
    /// Lets [`NativeFilter::on_wake`] run on the stream's worker.
    pub fn wake(&self, event: u64) {
        let event = Event::NativeStreamWake { stream: self.stream, slot: self.slot, event };
        self.world.lock().clock.schedule(Duration::ZERO, event);
    }
}
