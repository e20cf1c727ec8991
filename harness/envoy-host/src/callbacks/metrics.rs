//! Metrics: defined for a configuration, changed by it or by its streams.

use std::ffi::c_void;

use portcullis_testhost::MetricKind::{self, Counter, Gauge, Histogram};
use portcullis_testhost::native::PluginHandle;

use crate::objects::{Config, Metrics, Stream};
use crate::raw::Buffer;

/// How a metric changes.
#[derive(Clone, Copy)]
enum Change {
    Up,
    Down,
    To,
}

fn change(
    metrics: &Metrics,
    plugin: &PluginHandle,
    id: usize,
    kind: MetricKind,
    how: Change,
    by: u64,
) -> u32 {
    let signed = i64::try_from(by).unwrap_or(i64::MAX);
    metrics.change(id, kind, |name| match how {
        Change::Up => plugin.increment_metric(kind, name, signed),
        Change::Down => plugin.increment_metric(kind, name, -signed),
        Change::To => plugin.record_metric(kind, name, by),
    })
}

macro_rules! define {
    ($($name:ident = $kind:ident;)*) => {$(
        pub(super) extern "C" fn $name(
            envoy: *mut c_void, name: Buffer, _labels: *const Buffer, _count: usize, id: *mut usize,
        ) -> u32 {
            // SAFETY: the pointer that `config_new` was given; the module's name and result are live.
            unsafe {
                let config = &*envoy.cast::<Config>();
                *id = config.metrics.define(&config.handle, $kind, name.text());
            }
            0
        }
    )*};
}

define! {
    http_filter_config_define_counter = Counter;
    http_filter_config_define_gauge = Gauge;
    http_filter_config_define_histogram = Histogram;
}

macro_rules! changes {
    ($($name:ident = $object:ident, $kind:ident, $how:ident;)*) => {$(
        pub(super) extern "C" fn $name(
            envoy: *mut c_void, id: usize, _labels: *const Buffer, _count: usize, value: u64,
        ) -> u32 {
            // SAFETY: the pointer that the module was given for this configuration or stream.
            let object = unsafe { &*envoy.cast::<$object>() };
            change(&object.metrics, object.plugin(), id, $kind, Change::$how, value)
        }
    )*};
}

changes! {
    http_filter_config_increment_counter = Config, Counter, Up;
    http_filter_config_increment_gauge = Config, Gauge, Up;
    http_filter_config_decrement_gauge = Config, Gauge, Down;
    http_filter_config_set_gauge = Config, Gauge, To;
    http_filter_config_record_histogram_value = Config, Histogram, To;
    http_filter_increment_counter = Stream, Counter, Up;
    http_filter_increment_gauge = Stream, Gauge, Up;
    http_filter_decrement_gauge = Stream, Gauge, Down;
    http_filter_record_histogram_value = Stream, Histogram, To;
}
