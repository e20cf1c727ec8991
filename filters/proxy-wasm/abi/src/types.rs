//! The vocabulary of the ABI, under the names that the Proxy-Wasm SDKs use.
//!
//! These are types of our own because an `enum` of the SDK in the signature of a foreign function
//! is undefined behaviour as soon as a host answers a number that the `enum` does not list.

use std::fmt;

/// Severity of a log line.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Every step; off in production.
    Trace = 0,
    /// For developers.
    Debug = 1,
    /// Normal events of the plugin's life.
    Info = 2,
    /// Something is degraded but requests are decided correctly.
    Warn = 3,
    /// Requests are refused that should not have to be.
    Error = 4,
    /// The plugin cannot do its work at all.
    Critical = 5,
}

/// What the proxy does after a headers callback.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Hand the request or response to the next filter.
    Continue = 0,
    /// Hold it until it is resumed or answered.
    Pause = 1,
}

/// A header map. Each can be read in its own phase only (and in `on_log`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapType {
    /// Headers from the client.
    HttpRequestHeaders = 0,
    /// Trailers from the client.
    HttpRequestTrailers = 1,
    /// Headers to the client.
    HttpResponseHeaders = 2,
    /// Trailers to the client.
    HttpResponseTrailers = 3,
    /// Headers of the answer to an [`HttpCall`](crate::HttpCall).
    HttpCallResponseHeaders = 6,
    /// Trailers of the answer to an [`HttpCall`](crate::HttpCall).
    HttpCallResponseTrailers = 7,
}

/// A buffer of bytes that the proxy holds.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferType {
    /// Body from the client, as far as it is buffered.
    HttpRequestBody = 0,
    /// Body to the client, as far as it is buffered.
    HttpResponseBody = 1,
    /// Body of the answer to an [`HttpCall`](crate::HttpCall).
    HttpCallResponseBody = 4,
    /// `vmConfig.configuration`, in `on_vm_start`.
    VmConfiguration = 6,
    /// `pluginConfig`, in `on_configure`.
    PluginConfiguration = 7,
}

/// Kind of a metric.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Only goes up; increments must be above zero.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// Records single values.
    Histogram = 2,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// Names a root context or a stream within one VM. Never reused while it lives.
    ContextId
);
number!(
    /// Names one outstanding [`HttpCall`](crate::HttpCall).
    CallToken
);
number!(
    /// Names a shared queue of the proxy process.
    QueueId
);
number!(
    /// Names a metric of the proxy process.
    MetricId
);
number!(
    /// Version of a shared value, for compare-and-set.
    Cas
);
