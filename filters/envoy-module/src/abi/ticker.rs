//! The clock of a configuration: a thread that wakes the main thread, since Envoy has no timer for
//! a filter's configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::scheduler::{ConfigWaker, TICK};

/// It needs next to nothing.
const STACK: usize = 128 * 1024;

/// A tick more often than that would only burn the main thread.
const SHORTEST: Duration = Duration::from_micros(1);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// A tick is on its way; another one would only pile up behind it.
    pending: AtomicBool,
}

/// A running clock; it ends with its owner.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts a clock.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(waker: ConfigWaker, period: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("portcullis-tick".to_owned())
            .stack_size(STACK)
            .spawn(move || run(&of_thread, &waker, period.max(SHORTEST)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The main thread has seen the tick.
    pub(super) fn seen(&self) {
        self.shared.pending.store(false, Ordering::Release);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        // It commits without waiting for anybody, so it ends soon. A panic of its own has been
        // told by the panic hook.
        let _ = thread.join();
    }
}

fn run(shared: &Shared, waker: &ConfigWaker, period: Duration) {
    let mut next = Instant::now() + period;
    loop {
        while let Some(rest) = next.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            std::thread::park_timeout(rest);
        }
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        if !shared.pending.swap(true, Ordering::AcqRel) {
            waker.wake(TICK);
        }
        // Ticks that were missed (a machine that slept) are not made up for.
        next = (next + period).max(Instant::now());
    }
}
