//! Bounds of what a module may use, so that a test of a hostile module ends, and ends with a reason.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{FailureKind, HostFault};

/// Bounds of what a module may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of fuel (about one per Wasm instruction) that one callback may burn. Default: 5 × 10⁹,
    /// some seconds of work; an endless loop ends there.
    pub fuel_per_callback: u64,
    /// Bytes of linear memory of one VM. Default: 1 GiB, as in Envoy.
    pub memory_bytes: usize,
    /// Bytes of one body that the chain buffers before it answers 413 (request) or 500 (response).
    /// Default: 1 MiB, as in Envoy.
    pub buffer_bytes: usize,
    /// Hostcalls at one moment of virtual time, of all VMs together. Default: a million; one more kills
    /// the VM that makes it. Envoy has no such bound: it runs out of memory.
    pub hostcalls: u64,
    /// Bytes that hostcalls carry at one moment of virtual time, of all VMs together. Default: 256 MiB;
    /// one more kills the VM.
    pub hostcall_bytes: u64,
    /// Ticks, answers and other events in one step of time ([`Host::advance`](crate::Host::advance)). Default: two
    /// million, more than a timer of 50 ms has in a day; then the step ends and the test fails.
    pub events: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel_per_callback: 5_000_000_000,
            memory_bytes: 1 << 30,
            buffer_bytes: 1 << 20,
            hostcalls: 1_000_000,
            hostcall_bytes: 256 << 20,
            events: 2_000_000,
        }
    }
}

/// What hostcalls have used of their bounds at this moment of virtual time.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Spent {
    /// A new moment begins.
    pub(crate) fn reset(&self) {
        self.calls.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// One more hostcall.
    pub(crate) fn call(&self, limits: &Limits) -> Result<(), HostFault> {
        if self.calls.fetch_add(1, Ordering::Relaxed) < limits.hostcalls {
            return Ok(());
        }
        let message = format!(
            "more than {} hostcalls at one moment of virtual time (Limits::hostcalls)",
            limits.hostcalls
        );
        Err(HostFault { kind: FailureKind::HostLimit, message })
    }

    /// So many more bytes.
    pub(crate) fn bytes(&self, more: u32, limits: &Limits) -> Result<(), HostFault> {
        let more = u64::from(more);
        let before = self.bytes.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) <= limits.hostcall_bytes {
            return Ok(());
        }
        let message = format!(
            "hostcalls carried more than {} bytes at one moment of virtual time (Limits::hostcall_bytes)",
            limits.hostcall_bytes
        );
        Err(HostFault { kind: FailureKind::HostLimit, message })
    }
}
