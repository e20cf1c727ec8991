//! What is there while a configuration is made.

use std::marker::PhantomData;

use super::error::AbiResult;
use super::metrics::{Counter, Gauge, Histogram, check};
use super::raw::{Callbacks, ConfigPtr, ModuleBuffer};

/// A configuration in the making, on the main thread. Callouts are possible only later, from the
/// first tick on.
#[derive(Debug)]
pub struct Setup<'a> {
    calls: &'static Callbacks,
    envoy: ConfigPtr,
    name: &'a [u8],
    config: &'a [u8],
    _main_thread: PhantomData<*mut ()>,
}

/// One of the callbacks that define a metric.
type Define = unsafe extern "C" fn(ConfigPtr, ModuleBuffer, *const ModuleBuffer, usize, *mut usize) -> u32;

impl<'a> Setup<'a> {
    /// # Safety
    /// `envoy` is a configuration in the making, on the main thread, for `'a`.
    pub(super) unsafe fn new(
        calls: &'static Callbacks,
        envoy: ConfigPtr,
        name: &'a [u8],
        config: &'a [u8],
    ) -> Self {
        Self { calls, envoy, name, config, _main_thread: PhantomData }
    }

    /// The field `filter_name`.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The field `filter_config`: a `StringValue` or `BytesValue` as it is, a `Struct` as JSON.
    #[must_use]
    pub fn config(&self) -> &'a [u8] {
        self.config
    }

    /// How many workers Envoy has.
    #[must_use]
    pub fn concurrency(&self) -> u32 {
        // SAFETY: the main thread, while a configuration is made.
        unsafe { (self.calls.get_concurrency)() }
    }

    /// Envoy only checks its configuration (`--mode validate`) and will serve nothing.
    #[must_use]
    pub fn validating(&self) -> bool {
        // SAFETY: the main thread.
        unsafe { (self.calls.is_validation_mode)() }
    }

    /// Defines a counter.
    ///
    /// # Errors
    /// When Envoy refuses.
    pub fn define_counter(&self, name: &str) -> AbiResult<Counter> {
        self.define("http_filter_config_define_counter", self.calls.http_filter_config_define_counter, name)
            .map(Counter)
    }

    /// Defines a gauge.
    ///
    /// # Errors
    /// When Envoy refuses.
    pub fn define_gauge(&self, name: &str) -> AbiResult<Gauge> {
        self.define("http_filter_config_define_gauge", self.calls.http_filter_config_define_gauge, name)
            .map(Gauge)
    }

    /// Defines a histogram.
    ///
    /// # Errors
    /// When Envoy refuses.
    pub fn define_histogram(&self, name: &str) -> AbiResult<Histogram> {
        let define = self.calls.http_filter_config_define_histogram;
        self.define("http_filter_config_define_histogram", define, name).map(Histogram)
    }

    fn define(&self, call: &'static str, define: Define, name: &str) -> AbiResult<usize> {
        let mut id = 0;
        let name = ModuleBuffer::new(name.as_bytes());
        // SAFETY: a configuration in the making; the name is only read, the id is a live local.
        let result = unsafe { define(self.envoy, name, std::ptr::null(), 0, &raw mut id) };
        check(call, result)?;
        Ok(id)
    }
}
