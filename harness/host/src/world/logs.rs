//! What modules log.

use std::fmt;
use std::time::Duration;

use crate::codes::LogLevel;
use crate::vm_id::VmId;

/// A line that a module wrote with `proxy_log` or to stdout (info) or stderr (error), or that the host
/// wrote when a VM died (critical).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Virtual time since the host started.
    pub at: Duration,
    /// The VM that wrote it.
    pub vm: VmId,
    /// The context that wrote it; 0 before any context exists.
    pub context: u32,
    /// The exchange it was written for, if any.
    pub(crate) exchange: Option<u64>,
    /// How severe it is.
    pub level: LogLevel,
    /// The text; bytes that are not UTF-8 are replaced.
    pub message: String,
}

impl LogLine {
    /// Whether it was written for a request; else by a start, a configuration, a tick, or the answer to a callout.
    pub fn is_of_exchange(&self) -> bool {
        self.exchange.is_some()
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}#{} {}", self.level, self.vm, self.context, self.message)
    }
}
