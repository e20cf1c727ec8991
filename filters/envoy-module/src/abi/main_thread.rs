//! What a configuration can do on the main thread.

use std::marker::PhantomData;
use std::time::Duration;

use super::answer::CalloutId;
use super::error::{AbiResult, HostErrorKind};
use super::headers::check_header;
use super::metrics::{Counter, Gauge, Histogram, check};
use super::raw::{Callbacks, ConfigPtr, ModuleBuffer, ModuleHeader};

/// A request of the module's own.
#[derive(Clone, Copy, Debug)]
pub struct Callout<'a> {
    /// Name of the cluster in Envoy.
    pub cluster: &'a str,
    /// Headers; `:method`, `:path` and `:authority` among them.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Body.
    pub body: &'a [u8],
    /// How long it may take; rounded up to milliseconds.
    pub timeout: Duration,
}

/// A configuration on the main thread, within one of its events.
#[derive(Debug)]
pub struct MainHandle<'a> {
    calls: &'static Callbacks,
    envoy: ConfigPtr,
    _event: PhantomData<&'a ()>,
}

/// One of the callbacks that change a metric.
type Change = unsafe extern "C" fn(ConfigPtr, usize, *const ModuleBuffer, usize, u64) -> u32;

impl MainHandle<'_> {
    /// # Safety
    /// `envoy` is a live configuration, on the main thread, for the lifetime that is chosen.
    pub(super) unsafe fn new(calls: &'static Callbacks, envoy: ConfigPtr) -> Self {
        Self { calls, envoy, _event: PhantomData }
    }

    /// Sends a request; its answer comes to [`on_answer`](super::ConfigEvents::on_answer).
    ///
    /// # Errors
    /// When it cannot be begun: then no answer comes.
    pub fn callout(&self, callout: &Callout<'_>) -> AbiResult<CalloutId> {
        const CALL: &str = "http_filter_config_http_callout";
        for (name, value) in callout.headers {
            check_header(CALL, name, value)?;
        }
        let headers: Vec<ModuleHeader> =
            callout.headers.iter().map(|(name, value)| ModuleHeader::new(name, value)).collect();
        let mut id = 0;
        // SAFETY: a live configuration on the main thread; the rest points to live values, which
        // Envoy copies, and to a live local.
        let result = unsafe {
            (self.calls.http_filter_config_http_callout)(
                self.envoy,
                &raw mut id,
                ModuleBuffer::new(callout.cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                ModuleBuffer::new(callout.body),
                millis(callout.timeout),
            )
        };
        HostErrorKind::callout(result).map_err(|fault| fault.of(CALL))?;
        Ok(CalloutId(id))
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn count(&self, counter: Counter, value: u64) -> AbiResult<()> {
        let change = self.calls.http_filter_config_increment_counter;
        self.change("http_filter_config_increment_counter", change, counter.0, value)
    }

    /// Sets a gauge.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn set(&self, gauge: Gauge, value: u64) -> AbiResult<()> {
        self.change("http_filter_config_set_gauge", self.calls.http_filter_config_set_gauge, gauge.0, value)
    }

    /// Adds to a gauge.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn add(&self, gauge: Gauge, value: u64) -> AbiResult<()> {
        let change = self.calls.http_filter_config_increment_gauge;
        self.change("http_filter_config_increment_gauge", change, gauge.0, value)
    }

    /// Takes from a gauge.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn subtract(&self, gauge: Gauge, value: u64) -> AbiResult<()> {
        let change = self.calls.http_filter_config_decrement_gauge;
        self.change("http_filter_config_decrement_gauge", change, gauge.0, value)
    }

    /// Records a value in a histogram.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn record(&self, histogram: Histogram, value: u64) -> AbiResult<()> {
        let change = self.calls.http_filter_config_record_histogram_value;
        self.change("http_filter_config_record_histogram_value", change, histogram.0, value)
    }

    fn change(&self, call: &'static str, change: Change, id: usize, value: u64) -> AbiResult<()> {
        // SAFETY: a live configuration; there are no labels.
        check(call, unsafe { change(self.envoy, id, std::ptr::null(), 0, value) })
    }
}

/// Whole milliseconds, rounded up so that no positive time becomes 0 ("none").
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
