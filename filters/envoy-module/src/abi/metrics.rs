//! Metrics: defined once for a configuration, changed by it and by its streams.
//!
//! Names have no labels. Envoy shows them without the namespace `dynamicmodulescustom`.

use super::error::{AbiResult, HostErrorKind};

/// A number that only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counter(pub(super) usize);

/// A number that is set, or goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gauge(pub(super) usize);

/// A distribution of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Histogram(pub(super) usize);

/// What a metric callback answered.
pub(super) fn check(call: &'static str, result: u32) -> AbiResult<()> {
    HostErrorKind::metric(result).map_err(|fault| fault.of(call))
}
