//! A configuration of the probe, and what its streams leave in it.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use portcullis_envoy::abi::{
    AbiError, Callout, CalloutId, Counter, Gauge, Histogram, MainHandle, Setup, StreamWaker,
};

/// The event by which a stream asks the main thread to look at the queue of callouts.
pub(crate) const LOOK: u32 = 7;
/// The event by which a stream asks the main thread to panic.
pub(crate) const PANIC: u32 = 8;

/// What outlives configurations: lines that streams left behind when they were complete.
pub(crate) static JOURNAL: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
pub(crate) struct Metrics {
    pub(crate) requests: Counter,
    pub(crate) panics: Counter,
    pub(crate) ticks: Counter,
    pub(crate) open: Gauge,
    pub(crate) level: Gauge,
    pub(crate) sizes: Histogram,
    pub(crate) marks: Histogram,
}

impl Metrics {
    pub(crate) fn define(setup: &Setup<'_>) -> Result<Self, AbiError> {
        Ok(Self {
            requests: setup.define_counter("probe_requests")?,
            panics: setup.define_counter("probe_panics")?,
            ticks: setup.define_counter("probe_ticks")?,
            open: setup.define_gauge("probe_open")?,
            level: setup.define_gauge("probe_level")?,
            sizes: setup.define_histogram("probe_sizes")?,
            marks: setup.define_histogram("probe_marks")?,
        })
    }
}

#[derive(Default)]
pub(crate) struct State {
    /// Streams to wake at the next tick, with the thread that held them.
    pub(crate) held: Vec<StreamWaker>,
    /// Callouts that streams have asked for: cluster, path, time-out, and whom to tell.
    pub(crate) asked: Vec<(String, String, Duration, StreamWaker)>,
    pub(crate) under_way: Vec<(CalloutId, StreamWaker)>,
    /// What the last callout has come to.
    pub(crate) outcome: String,
    pub(crate) polling: bool,
}

pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) poll: bool,
    pub(crate) period: Option<Duration>,
    pub(crate) metrics: Metrics,
    pub(crate) ticks: AtomicU64,
    pub(crate) state: Mutex<State>,
}

impl Config {
    pub(crate) fn note(&self, line: &str) {
        JOURNAL.lock().unwrap().push(line.to_owned());
    }

    pub(crate) fn call(
        &self,
        main: &MainHandle<'_>,
        cluster: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<CalloutId, AbiError> {
        let headers: [(&[u8], &[u8]); 3] =
            [(b":method", b"POST"), (b":path", path.as_bytes()), (b":authority", b"probe")];
        main.callout(&Callout { cluster, headers: &headers, body: b"asked", timeout })
    }

    /// Sends what streams have asked for.
    pub(crate) fn look(&self, main: &MainHandle<'_>) {
        let asked = std::mem::take(&mut self.state.lock().unwrap().asked);
        for (cluster, path, timeout, waker) in asked {
            let sent = self.call(main, &cluster, &path, timeout);
            let mut state = self.state.lock().unwrap();
            match sent {
                Ok(id) => state.under_way.push((id, waker)),
                Err(error) => {
                    state.outcome = format!("not sent: {}", error.fault);
                    waker.wake(1);
                }
            }
        }
    }
}
