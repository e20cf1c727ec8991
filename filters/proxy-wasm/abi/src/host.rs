//! What the stages and the plugin see of the proxy.

use std::time::Duration;

use crate::error::{HostErrorKind, HostResult};
use crate::foreign::{self, HashFunction, LifeSpan};
use crate::types::{BufferType, CallToken, Cas, ContextId, LogLevel, MapType, MetricId, MetricType, QueueId};

/// A header: name (lower-case) and value.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// An answer that the filter gives instead of the upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalResponse<'a> {
    /// HTTP status code.
    pub status: u16,
    /// `response.code_details` in access logs: lower-case words joined by `_`. Absent if empty.
    pub details: &'a str,
    /// Headers besides `:status`, `content-length` and `content-type` of the proxy's own.
    pub headers: &'a [Header<'a>],
    /// Body.
    pub body: &'a [u8],
    /// `grpc-status` for gRPC requests; none lets the proxy derive it from `status`.
    pub grpc_status: Option<u32>,
}

/// An HTTP request that the filter sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpCall<'a> {
    /// Name of a cluster that the proxy knows (`outbound|PORT||HOST` under Istio).
    pub upstream: &'a str,
    /// Headers; `:method`, `:path` and `:authority` must be among them.
    pub headers: &'a [Header<'a>],
    /// Body; none is sent if empty.
    pub body: &'a [u8],
    /// Trailers.
    pub trailers: &'a [Header<'a>],
    /// Until a 504 is reported, rounded up to milliseconds. Zero would wait for ever.
    pub timeout: Duration,
}

/// A shared value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedValue {
    /// The value; other plugins can write here, so it is untrusted.
    pub data: Vec<u8>,
    /// To be given to [`Host::set_shared_data`] so that a change in between is noticed.
    pub cas: Cas,
}

/// Data from the proxy: the first `length` bytes of a buffer. The rest is of no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The whole buffer.
    pub buffer: Vec<u8>,
    /// How many bytes of it count.
    pub length: usize,
}

impl Block {
    /// The bytes that count.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Block {
    fn from(buffer: Vec<u8>) -> Self {
        Self { length: buffer.len(), buffer }
    }
}

/// The proxy, as Proxy-Wasm 0.2.1 offers it to HTTP filters.
///
/// No method panics. Absence that is part of normal life is `Ok(None)`; every other status than
/// `Ok` is an error. Calls act on the current context, see [`Host::set_effective_context`].
pub trait Host {
    /// Writes a line to the proxy's log. A log that fails is not worth a caller's attention.
    fn log(&self, level: LogLevel, message: &str);

    /// Wall clock: nanoseconds since the Unix epoch. Can jump.
    ///
    /// # Errors
    /// If the proxy cannot tell the time.
    fn now(&self) -> HostResult<u64>;

    /// Monotonic clock: nanoseconds since an unknown start. Never goes back.
    ///
    /// # Errors
    /// If the proxy cannot tell the time.
    fn monotonic(&self) -> HostResult<u64>;

    /// Fills `out` (at most 64 KiB) from the proxy's cryptographic random source.
    ///
    /// # Errors
    /// If the proxy has none or `out` is too long; `out` must not be used then.
    fn random(&self, out: &mut [u8]) -> HostResult<()>;

    /// Environment variable given by `vmConfig.env`.
    fn env(&self, name: &str) -> Option<Vec<u8>>;

    /// A whole header map in one crossing, as one block: `count: u32`, then for each header `name length: u32,
    /// value length: u32`, then for each header the name, a NUL, the value, a NUL; all little endian. The
    /// proxy wrote it, so its lengths are still to be checked.
    ///
    /// `reuse`: a block's buffer that is not needed any more, for the next one.
    ///
    /// # Errors
    /// If the map cannot be read in this phase.
    fn header_block(&self, map: MapType, reuse: Vec<u8>) -> HostResult<Block>;

    /// Value of the first header of this (lower-case) name.
    ///
    /// # Errors
    /// If the map cannot be read in this phase.
    fn header(&self, map: MapType, name: &str) -> HostResult<Option<Vec<u8>>>;

    /// Adds a header beside those of the same name.
    ///
    /// # Errors
    /// If the map cannot be written in this phase.
    fn add_header(&self, map: MapType, name: &str, value: &[u8]) -> HostResult<()>;

    /// Sets a header in place of all of the same name.
    ///
    /// # Errors
    /// If the map cannot be written in this phase.
    fn replace_header(&self, map: MapType, name: &str, value: &[u8]) -> HostResult<()>;

    /// Removes all headers of this name, which is bytes because it may come from the client.
    /// Removing what is not there succeeds.
    ///
    /// # Errors
    /// If the map cannot be written in this phase.
    fn remove_header(&self, map: MapType, name: &[u8]) -> HostResult<()>;

    /// Replaces a whole map (at most 1024 entries and 1 MiB in Envoy).
    ///
    /// # Errors
    /// If the map cannot be written in this phase or is too large.
    fn set_pairs(&self, map: MapType, pairs: &[Header<'_>]) -> HostResult<()>;

    /// Value of a property (attribute) of the proxy, in its own encoding. A path of several segments costs
    /// least where they are one text already, joined by NUL.
    ///
    /// # Errors
    /// If the proxy failed; a property that is not set is `None`.
    fn property(&self, path: &[&str]) -> HostResult<Option<Vec<u8>>>;

    /// Sets a property (filter state `wasm.<path>` in Envoy).
    ///
    /// # Errors
    /// If the proxy refuses it.
    fn set_property(&self, path: &[&str], value: &[u8]) -> HostResult<()>;

    /// Part of a buffer, `max` bytes at most. A buffer that is not there is empty.
    ///
    /// # Errors
    /// If the buffer cannot be read in this phase.
    fn buffer(&self, buffer: BufferType, start: usize, max: usize) -> HostResult<Vec<u8>>;

    /// Answers the request. From a root context it does nothing and says `Ok`: set the stream as
    /// effective context first. The headers callback must answer `Pause` afterwards.
    ///
    /// # Errors
    /// If the proxy refuses it (for example a response is already under way).
    fn send_local_response(&self, response: &LocalResponse<'_>) -> HostResult<()>;

    /// Lets a paused request go on.
    ///
    /// # Errors
    /// If the proxy refuses it.
    fn resume_http_request(&self) -> HostResult<()>;

    /// Sends an HTTP request; the answer arrives at `on_http_call_response` of this context.
    ///
    /// # Errors
    /// [`HostErrorKind::BadArgument`] for an unknown cluster or missing pseudo-headers.
    fn http_call(&self, call: &HttpCall<'_>) -> HostResult<CallToken>;

    /// A value that all VMs of this proxy and `vm_id` share.
    ///
    /// # Errors
    /// If the proxy failed; a key that is not set is `None`.
    fn shared_data(&self, key: &str) -> HostResult<Option<SharedValue>>;

    /// Sets a shared value; with `cas`, only if nobody changed it since.
    ///
    /// # Errors
    /// [`HostErrorKind::CasMismatch`] if somebody did.
    fn set_shared_data(&self, key: &str, value: &[u8], cas: Option<Cas>) -> HostResult<()>;

    /// Opens a queue of this `vm_id` and asks to be notified of it.
    ///
    /// # Errors
    /// If the proxy failed.
    fn register_queue(&self, name: &str) -> HostResult<QueueId>;

    /// Finds a queue that somebody registered under `vm_id`.
    ///
    /// # Errors
    /// If the proxy failed; an unknown queue is `None`.
    fn resolve_queue(&self, vm_id: &str, name: &str) -> HostResult<Option<QueueId>>;

    /// Appends to a queue. The proxy does not bound it.
    ///
    /// # Errors
    /// [`HostErrorKind::NotFound`] for an unknown queue.
    fn enqueue(&self, queue: QueueId, value: &[u8]) -> HostResult<()>;

    /// Takes the oldest entry; `None` if there is none.
    ///
    /// # Errors
    /// [`HostErrorKind::NotFound`] for an unknown queue.
    fn dequeue(&self, queue: QueueId) -> HostResult<Option<Vec<u8>>>;

    /// Asks for `on_tick` at this interval, rounded up to milliseconds; zero stops it.
    ///
    /// # Errors
    /// If the proxy failed.
    fn set_tick_period(&self, period: Duration) -> HostResult<()>;

    /// Makes a metric known, or finds it again.
    ///
    /// # Errors
    /// If the proxy failed.
    fn define_metric(&self, kind: MetricType, name: &str) -> HostResult<MetricId>;

    /// Changes a counter (by more than zero) or a gauge.
    ///
    /// # Errors
    /// [`HostErrorKind::BadArgument`] for a counter and an offset of zero or less.
    fn increment_metric(&self, metric: MetricId, offset: i64) -> HostResult<()>;

    /// Sets a gauge or records a value in a histogram.
    ///
    /// # Errors
    /// [`HostErrorKind::NotFound`] for an unknown metric.
    fn record_metric(&self, metric: MetricId, value: u64) -> HostResult<()>;

    /// Calls a function that only this kind of proxy has.
    ///
    /// # Errors
    /// [`HostErrorKind::NotFound`] if the proxy has no such function.
    fn call_foreign(&self, function: &str, arguments: &[u8]) -> HostResult<Vec<u8>>;

    /// Lets the following calls act on another context of this VM.
    ///
    /// # Errors
    /// [`HostErrorKind::BadArgument`] if the context is gone.
    fn set_effective_context(&self, context: ContextId) -> HostResult<()>;

    /// Says that a context whose `on_done` answered `false` is done now.
    ///
    /// # Errors
    /// [`HostErrorKind::NotFound`] if nobody waits for it.
    fn done(&self) -> HostResult<()>;

    /// A property that is a whole number (64 bits, little endian), such as `response.flags`.
    ///
    /// # Errors
    /// [`HostErrorKind::Malformed`] if it is something else.
    fn property_i64(&self, path: &[&str]) -> HostResult<Option<i64>> {
        let Some(bytes) = self.property(path)? else {
            return Ok(None);
        };
        match <[u8; 8]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Some(i64::from_le_bytes(bytes))),
            Err(_) => Err(HostErrorKind::Malformed.of("get_property")),
        }
    }

    /// Checks a signature with the proxy's native cryptography: RSA PKCS#1 v1.5, or ECDSA P-256
    /// with a DER signature. `key` is a DER `SubjectPublicKeyInfo`. `Ok(false)`: it does not fit.
    ///
    /// # Errors
    /// [`HostErrorKind::NotFound`] if the proxy has no such function: fall back to the module's own code.
    fn verify_signature(
        &self,
        hash: HashFunction,
        key: &[u8],
        signature: &[u8],
        text: &[u8],
    ) -> HostResult<bool> {
        let arguments = foreign::verify_arguments(hash, key, signature, text);
        let answer = self.call_foreign(foreign::VERIFY_SIGNATURE, &arguments)?;
        foreign::verify_result(&answer).map_err(|fault| fault.of(foreign::VERIFY_SIGNATURE))
    }

    /// Makes the proxy choose the route again, after headers that routes match were changed.
    ///
    /// # Errors
    /// If the proxy has no such function.
    fn clear_route_cache(&self) -> HostResult<()> {
        self.call_foreign(foreign::CLEAR_ROUTE_CACHE, &[]).map(|_| ())
    }

    /// Sets an object of the proxy's filter state (string form) under `path`.
    ///
    /// # Errors
    /// If the proxy has no such function or refuses the value.
    fn set_envoy_filter_state(&self, path: &str, value: &[u8], span: LifeSpan) -> HostResult<()> {
        let arguments = foreign::filter_state_arguments(path, value, span);
        self.call_foreign(foreign::SET_FILTER_STATE, &arguments).map(|_| ())
    }
}
