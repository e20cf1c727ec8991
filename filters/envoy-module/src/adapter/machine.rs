//! The machine: the one place that reads clocks, randomness and the environment.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// From when the monotonic clock counts.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since 1970; `None` when the clock stands before that.
pub(super) fn wall_clock_ns() -> Option<u64> {
    #[cfg(feature = "testing")]
    if let Some(process) = crate::testing::current() {
        return Some(process.machine.wall_clock_ns());
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

/// Nanoseconds since an unknown moment.
pub(super) fn monotonic_ns() -> u64 {
    #[cfg(feature = "testing")]
    if let Some(process) = crate::testing::current() {
        return process.machine.monotonic_ns();
    }
    // A second is added, so that "a moment ago" is never before the beginning.
    let elapsed = START.elapsed().saturating_add(Duration::from_secs(1));
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Fills bytes from the machine's secure randomness.
///
/// # Errors
/// Why there is none.
pub(super) fn random(out: &mut [u8]) -> Result<(), String> {
    #[cfg(feature = "testing")]
    if let Some(process) = crate::testing::current() {
        process.machine.random(out);
        return Ok(());
    }
    getrandom::fill(out).map_err(|error| error.to_string())
}

/// A variable of the environment.
pub(super) fn env(name: &str) -> Option<Vec<u8>> {
    #[cfg(feature = "testing")]
    if let Some(process) = crate::testing::current() {
        return process.machine.env(name);
    }
    std::env::var_os(name).map(std::ffi::OsString::into_encoded_bytes)
}
