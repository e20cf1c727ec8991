//! What Envoy knows about a stream, keeps for it and counts.

use super::bytes::slice;
use super::error::{AbiResult, HostErrorKind, done};
use super::metrics::{Counter, Gauge, Histogram, check};
use super::raw::{EnvoyBuffer, FilterPtr, ModuleBuffer};
use super::stream::StreamHandle;
use super::types::Attribute;

/// One of the callbacks that change a metric.
type Change = unsafe extern "C" fn(FilterPtr, usize, *const ModuleBuffer, usize, u64) -> u32;

// SAFETY of every block below: `envoy` is a live filter on its worker's thread while a handle
// exists; what a callback reads are live slices, what it writes are live locals.
impl StreamHandle<'_> {
    /// An attribute that is text; `None` if Envoy does not know it, or if it is none.
    #[must_use]
    pub fn text(&self, attribute: Attribute) -> Option<Vec<u8>> {
        let mut value = EnvoyBuffer::EMPTY;
        let get = self.calls.http_filter_get_attribute_string;
        let found = unsafe { get(self.envoy, attribute as u32, &raw mut value) };
        found.then(|| unsafe { slice(value) }.ok().map(<[u8]>::to_vec)).flatten()
    }

    /// An attribute that is a number.
    #[must_use]
    pub fn number(&self, attribute: Attribute) -> Option<u64> {
        let mut value = 0;
        let get = self.calls.http_filter_get_attribute_int;
        unsafe { get(self.envoy, attribute as u32, &raw mut value) }.then_some(value)
    }

    /// An attribute that is yes or no.
    #[must_use]
    pub fn flag(&self, attribute: Attribute) -> Option<bool> {
        let mut value = false;
        let get = self.calls.http_filter_get_attribute_bool;
        unsafe { get(self.envoy, attribute as u32, &raw mut value) }.then_some(value)
    }

    /// Leaves bytes for the filters that this stream meets later.
    ///
    /// # Errors
    /// When Envoy refuses: the key is taken by something that may not be replaced.
    pub fn set_state(&self, key: &[u8], value: &[u8]) -> AbiResult<()> {
        let (key, value) = (ModuleBuffer::new(key), ModuleBuffer::new(value));
        let set = self.calls.http_set_filter_state_bytes;
        done("http_set_filter_state_bytes", unsafe { set(self.envoy, key, value) })
    }

    /// The bytes that an earlier filter has left.
    ///
    /// # Errors
    /// When Envoy hands over what makes no sense.
    pub fn state(&self, key: &[u8]) -> AbiResult<Option<Vec<u8>>> {
        let mut value = EnvoyBuffer::EMPTY;
        let get = self.calls.http_get_filter_state_bytes;
        if !unsafe { get(self.envoy, ModuleBuffer::new(key), &raw mut value) } {
            return Ok(None);
        }
        let fault = |fault: HostErrorKind| fault.of("http_get_filter_state_bytes");
        unsafe { slice(value) }.map(|value| Some(value.to_vec())).map_err(fault)
    }

    /// The worker's number, from 0.
    #[must_use]
    pub fn worker(&self) -> u32 {
        unsafe { (self.calls.http_filter_get_worker_index)(self.envoy) }
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn count(&self, counter: Counter, value: u64) -> AbiResult<()> {
        let change = self.calls.http_filter_increment_counter;
        self.change("http_filter_increment_counter", change, counter.0, value)
    }

    /// Adds to a gauge.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn add(&self, gauge: Gauge, value: u64) -> AbiResult<()> {
        let change = self.calls.http_filter_increment_gauge;
        self.change("http_filter_increment_gauge", change, gauge.0, value)
    }

    /// Takes from a gauge.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn subtract(&self, gauge: Gauge, value: u64) -> AbiResult<()> {
        let change = self.calls.http_filter_decrement_gauge;
        self.change("http_filter_decrement_gauge", change, gauge.0, value)
    }

    /// Records a value in a histogram.
    ///
    /// # Errors
    /// When it is not one of this configuration.
    pub fn record(&self, histogram: Histogram, value: u64) -> AbiResult<()> {
        let change = self.calls.http_filter_record_histogram_value;
        self.change("http_filter_record_histogram_value", change, histogram.0, value)
    }

    fn change(&self, call: &'static str, change: Change, id: usize, value: u64) -> AbiResult<()> {
        check(call, unsafe { change(self.envoy, id, std::ptr::null(), 0, value) })
    }
}
