//! A proxy in memory, for native unit tests of stages and of the plugin.
//!
//! It keeps to what Envoy does where a plugin can notice: names are lower-cased, a single read
//! gives the first of several headers, counters refuse zero, queues are bounded by nothing, a
//! shared value changes its version with each write. It does not check phases; that is the test
//! host's part.

mod calls;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::calls::Calls;
use crate::context::CallResponse;
use crate::error::{HostError, HostErrorKind, HostResult};
use crate::types::{BufferType, CallToken, ContextId, LogLevel, MapType, MetricType, QueueId};

/// An owned header.
pub type OwnedHeader = (Vec<u8>, Vec<u8>);

/// A local response that the plugin sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentResponse {
    /// The effective context at that time.
    pub context: ContextId,
    /// HTTP status code.
    pub status: u16,
    /// `response.code_details`.
    pub details: String,
    /// Headers.
    pub headers: Vec<OwnedHeader>,
    /// Body.
    pub body: Vec<u8>,
    /// `grpc-status`, if given.
    pub grpc_status: Option<u32>,
}

impl SentResponse {
    /// Value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        first(&self.headers, name.as_bytes())
    }
}

/// An HTTP call that the plugin made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCall {
    /// The effective context at that time.
    pub context: ContextId,
    /// What [`CallResponse`] will name it by.
    pub token: CallToken,
    /// Name of the cluster.
    pub upstream: String,
    /// Headers.
    pub headers: Vec<OwnedHeader>,
    /// Body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Vec<OwnedHeader>,
    /// Time-out.
    pub timeout: Duration,
}

impl SentCall {
    /// Value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        first(&self.headers, name.as_bytes())
    }
}

/// Shared data and queues, which all VMs of a proxy see.
#[derive(Debug, Default)]
struct Process {
    data: BTreeMap<String, (Vec<u8>, u32)>,
    queues: Vec<(String, VecDeque<Vec<u8>>)>,
}

type Foreign = Rc<dyn Fn(&[u8]) -> Result<Vec<u8>, HostErrorKind>>;

#[derive(Default)]
struct State {
    maps: BTreeMap<u32, Vec<OwnedHeader>>,
    buffers: BTreeMap<u32, Vec<u8>>,
    properties: BTreeMap<String, Vec<u8>>,
    env: BTreeMap<String, Vec<u8>>,
    wall: u64,
    monotonic: u64,
    random: u64,
    logs: Vec<(LogLevel, String)>,
    responses: Vec<SentResponse>,
    calls: Vec<SentCall>,
    next_token: u32,
    known_upstreams: Option<BTreeSet<String>>,
    resumed: Vec<ContextId>,
    gone: BTreeSet<u32>,
    tick: Option<Duration>,
    metrics: Vec<(String, MetricType, i64)>,
    foreign: BTreeMap<String, Foreign>,
    foreign_calls: Vec<(String, Vec<u8>)>,
    faults: BTreeMap<&'static str, HostErrorKind>,
    done: usize,
    crossings: usize,
}

/// A proxy in memory. Everything that the plugin can see is set here, everything that it did can
/// be read here.
///
/// ```
/// use portcullis_proxy_wasm_abi::fake::FakeHost;
/// use portcullis_proxy_wasm_abi::{Host, MapType};
///
/// let host = FakeHost::new();
/// host.set_headers(MapType::HttpRequestHeaders, &[("x-a", b"1"), ("x-a", b"2")]);
/// let value = host.header(MapType::HttpRequestHeaders, "x-a");
/// assert_eq!(value, Ok(Some(b"1".to_vec())));
/// ```
#[derive(Default)]
pub struct FakeHost {
    state: RefCell<State>,
    process: Rc<RefCell<Process>>,
    calls: Calls,
}

impl FakeHost {
    /// A proxy with empty maps whose wall clock stands at 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        let host = Self::default();
        host.set_wall_clock(1_767_225_600_000_000_000);
        host
    }

    /// Another VM of the same process: shared data and queues are common, the rest is new.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let host = Self::new();
        Self { process: Rc::clone(&self.process), ..host }
    }

    /// Replaces a header map. Names are lower-cased, as codecs do.
    pub fn set_headers(&self, map: MapType, headers: &[(&str, &[u8])]) {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.to_vec()))
            .collect();
        self.state.borrow_mut().maps.insert(map as u32, headers);
    }

    /// All headers of a map.
    #[must_use]
    pub fn headers(&self, map: MapType) -> Vec<OwnedHeader> {
        let state = self.state.borrow();
        state.maps.get(&(map as u32)).cloned().unwrap_or_default()
    }

    /// Sets a buffer, such as the plugin's configuration.
    pub fn set_buffer(&self, buffer: BufferType, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.buffers.insert(buffer as u32, bytes.to_vec());
    }

    /// Sets a property that the proxy knows.
    pub fn give_property(&self, path: &[&str], value: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.properties.insert(path.join("\0"), value.to_vec());
    }

    /// Sets an environment variable of the VM.
    pub fn set_env(&self, name: &str, value: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.env.insert(name.to_owned(), value.to_vec());
    }

    /// Sets the wall clock: nanoseconds since the Unix epoch.
    pub fn set_wall_clock(&self, nanoseconds: u64) {
        self.state.borrow_mut().wall = nanoseconds;
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.state.borrow_mut();
        state.wall = state.wall.saturating_add(nanoseconds);
        state.monotonic = state.monotonic.saturating_add(nanoseconds);
    }

    /// Starts the random source anew from `seed`.
    pub fn seed(&self, seed: u64) {
        self.state.borrow_mut().random = seed;
    }

    /// Lets every later call of this name (without `proxy_`) fail; `None` heals it.
    pub fn fail(&self, call: &'static str, fault: Option<HostErrorKind>) {
        let mut state = self.state.borrow_mut();
        match fault {
            Some(fault) => state.faults.insert(call, fault),
            None => state.faults.remove(call),
        };
    }

    /// Knows only these clusters from now on; without it, any.
    pub fn know_upstreams(&self, names: &[&str]) {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.state.borrow_mut().known_upstreams = Some(names);
    }

    /// Offers a foreign function.
    pub fn offer_foreign(
        &self,
        name: &str,
        function: impl Fn(&[u8]) -> Result<Vec<u8>, HostErrorKind> + 'static,
    ) {
        let mut state = self.state.borrow_mut();
        state.foreign.insert(name.to_owned(), Rc::new(function));
    }

    /// Makes a context the current one, as the proxy does before a callback.
    pub fn enter(&self, context: ContextId) {
        self.calls.enter(context);
    }

    /// The context that calls act on.
    #[must_use]
    pub fn effective(&self) -> ContextId {
        self.calls.current()
    }

    /// Makes a context unknown to `set_effective_context`.
    pub fn forget(&self, context: ContextId) {
        self.state.borrow_mut().gone.insert(context.0);
    }

    /// Puts the answer to a call in place and gives what the callback is told.
    pub fn answer(&self, token: CallToken, headers: &[(&str, &[u8])], body: &[u8]) -> CallResponse {
        self.set_headers(MapType::HttpCallResponseHeaders, headers);
        self.set_headers(MapType::HttpCallResponseTrailers, &[]);
        self.set_buffer(BufferType::HttpCallResponseBody, body);
        CallResponse { token, headers: headers.len(), body: body.len(), trailers: 0 }
    }

    /// What the callback is told when the connection was reset.
    pub fn reset(&self, token: CallToken) -> CallResponse {
        self.answer(token, &[], b"")
    }

    /// Log lines so far.
    #[must_use]
    pub fn logs(&self) -> Vec<(LogLevel, String)> {
        self.state.borrow().logs.clone()
    }

    /// Whether a log line of this level contains `text`.
    #[must_use]
    pub fn logged(&self, level: LogLevel, text: &str) -> bool {
        let state = self.state.borrow();
        let mut logs = state.logs.iter();
        logs.any(|(l, line)| *l == level && line.contains(text))
    }

    /// Takes the local responses so far.
    pub fn take_responses(&self) -> Vec<SentResponse> {
        std::mem::take(&mut self.state.borrow_mut().responses)
    }

    /// Takes the calls made so far.
    pub fn take_calls(&self) -> Vec<SentCall> {
        std::mem::take(&mut self.state.borrow_mut().calls)
    }

    /// Takes the foreign functions called so far, with their arguments.
    pub fn take_foreign_calls(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.state.borrow_mut().foreign_calls)
    }

    /// Takes the contexts whose request was resumed so far.
    pub fn take_resumed(&self) -> Vec<ContextId> {
        std::mem::take(&mut self.state.borrow_mut().resumed)
    }

    /// Number of `done` calls so far.
    #[must_use]
    pub fn done_calls(&self) -> usize {
        self.state.borrow().done
    }

    /// Interval of ticks.
    #[must_use]
    pub fn tick_period(&self) -> Option<Duration> {
        self.state.borrow().tick
    }

    /// A counter's or gauge's value; for a histogram, the value recorded last.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<i64> {
        let state = self.state.borrow();
        let metric = state.metrics.iter().find(|(n, ..)| n == name);
        metric.map(|(_, _, value)| *value)
    }

    /// Entries of a queue, without taking them.
    #[must_use]
    pub fn queue(&self, queue: QueueId) -> Vec<Vec<u8>> {
        let process = self.process.borrow();
        let queue = index(queue.0).and_then(|at| process.queues.get(at));
        queue.map_or_else(Vec::new, |(_, entries)| entries.iter().cloned().collect())
    }

    /// Number of hostcalls so far (provided methods count what they call).
    #[must_use]
    pub fn crossings(&self) -> usize {
        self.state.borrow().crossings
    }

    /// Counts the call and lets it fail if a test asked for that.
    fn cross(&self, call: &'static str) -> HostResult<()> {
        let mut state = self.state.borrow_mut();
        state.crossings += 1;
        match state.faults.get(call) {
            Some(&fault) => Err(HostError { call, fault }),
            None => Ok(()),
        }
    }
}

fn first<'a>(headers: &'a [OwnedHeader], name: &[u8]) -> Option<&'a [u8]> {
    let header = headers.iter().find(|(n, _)| n == name);
    header.map(|(_, value)| value.as_slice())
}

/// Queue and metric ids count from 1, so that 0 is never one.
fn index(id: u32) -> Option<usize> {
    usize::try_from(id).ok()?.checked_sub(1)
}
