//! Envoy's log, under the logger `dynamic_modules`.

use super::host;
use super::raw::ModuleBuffer;
use super::types::LogLevel;

/// Writes a line. Without an Envoy (in unit tests) it goes to standard error.
pub fn log(level: LogLevel, message: &str) {
    match host::callbacks() {
        // SAFETY: the callback reads the buffer during the call only.
        Some(calls) => unsafe { (calls.log)(level as u32, ModuleBuffer::new(message.as_bytes())) },
        None => eprintln!("[{level:?}] {message}"),
    }
}

/// Whether a line of this level would be written.
#[must_use]
pub fn log_enabled(level: LogLevel) -> bool {
    // SAFETY: takes a number, answers a bool.
    host::callbacks().is_none_or(|calls| unsafe { (calls.log_enabled)(level as u32) })
}
