//! A filter configuration: what Envoy holds for it, and the hooks that belong to it.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::answer::{Answer, CalloutFailure, CalloutId, failure};
use super::catch::guard;
use super::events::{ConfigEvents, ConfigFactory};
use super::log::log;
use super::main_thread::MainHandle;
use super::metrics::Counter;
use super::raw::{Callbacks, ConfigPtr, EnvoyBuffer, EnvoyHeader};
use super::scheduler::{ConfigWaker, TICK, committing};
use super::setup::Setup;
use super::ticker::Ticker;
use super::types::{Hook, LogLevel};
use super::{bytes, host};

/// What a filter configuration is in the module.
pub(super) struct ConfigState {
    // First, so that no tick is on its way when the rest goes.
    ticker: Option<Ticker>,
    pub(super) calls: &'static Callbacks,
    pub(super) events: Box<dyn ConfigEvents>,
    pub(super) waker: ConfigWaker,
    pub(super) panic_counter: Option<Counter>,
    /// Envoy has let it go; only set for long when its memory has to stay (see [`destroy`]).
    gone: AtomicBool,
}

/// A configuration is made; null rejects it.
///
/// # Safety
/// Called by Envoy's hook with its arguments.
pub(super) unsafe fn new(
    envoy: ConfigPtr,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
    factory: ConfigFactory,
) -> *const c_void {
    let made = guard(Hook::ConfigNew, || {
        // SAFETY: the caller's promise.
        unsafe { make(envoy, name, config, factory) }
    });
    match made.unwrap_or_else(|| Err("a panic, see above".to_owned())) {
        Ok(state) => Box::into_raw(state).cast_const().cast(),
        Err(error) => {
            log(LogLevel::Error, &format!("portcullis: the configuration is rejected: {error}"));
            std::ptr::null()
        }
    }
}

/// # Safety
/// As for [`new`].
unsafe fn make(
    envoy: ConfigPtr,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
    factory: ConfigFactory,
) -> Result<Box<ConfigState>, String> {
    let calls = host::callbacks().ok_or("the module refuses this Envoy, see standard error")?;
    // SAFETY: both buffers are valid until the hook returns.
    let (name, config) = unsafe { (bytes::slice(name), bytes::slice(config)) };
    let (name, config) = name.and_then(|name| Ok((name, config?))).map_err(|fault| fault.to_string())?;
    // SAFETY: the configuration lives, and this is its hook on the main thread.
    let setup = unsafe { Setup::new(calls, envoy, name, config) };
    let events = factory(&setup)?;
    // SAFETY: see above.
    let waker = || unsafe { ConfigWaker::new(calls, envoy) }.map_err(|error| error.to_string());
    let ticker = match events.tick_period().filter(|_| !setup.validating()) {
        Some(period) => Some(tick(waker()?, period)?),
        None => None,
    };
    let (waker, panic_counter) = (waker()?, events.panic_counter());
    Ok(Box::new(ConfigState { ticker, calls, events, waker, panic_counter, gone: AtomicBool::new(false) }))
}

fn tick(waker: ConfigWaker, period: Duration) -> Result<Ticker, String> {
    Ticker::start(waker, period).map_err(|error| format!("no thread for its ticks: {error}"))
}

/// A configuration ends.
///
/// A thread that has just handed an event to Envoy may be the last one that holds the
/// configuration: then Envoy ends it here, on that thread, and would go on to cancel its callouts
/// there, behind the main thread's back. That thread (the ticker, as workers hold the
/// configuration by their stream) is parked for good instead: it and the configuration are lost, a
/// few kilobytes, and everything that the main thread still uses stays valid.
///
/// # Safety
/// Called by Envoy's hook with what [`new`] made, once.
pub(super) unsafe fn destroy(state: *const c_void) {
    let state = state.cast::<ConfigState>().cast_mut();
    {
        // SAFETY: made by `new` and not destroyed yet.
        let state = unsafe { &*state };
        state.gone.store(true, Ordering::Release);
        let _ = guard(Hook::ConfigDestroy, || state.events.on_end());
    }
    if committing() {
        log(LogLevel::Info, "portcullis: a configuration ended at its own tick and is kept in memory");
        loop {
            std::thread::park();
        }
    }
    // SAFETY: Envoy does not use it any more, and its streams are gone.
    let _ = guard(Hook::ConfigDestroy, || drop(unsafe { Box::from_raw(state) }));
}

/// A tick or a wake on the main thread.
///
/// # Safety
/// Called by Envoy's hook on the main thread, with a live configuration.
pub(super) unsafe fn scheduled(envoy: ConfigPtr, state: *const c_void, event: u64) {
    // SAFETY: the caller's promise.
    let Some(state) = (unsafe { live(state) }) else { return };
    // SAFETY: the caller's promise.
    let main = unsafe { MainHandle::new(state.calls, envoy) };
    let done = guard(Hook::ConfigScheduled, || {
        if event == TICK {
            if let Some(ticker) = &state.ticker {
                ticker.seen();
            }
            state.events.on_tick(&main);
        } else if let Ok(event) = u32::try_from(event) {
            state.events.on_wake(&main, event);
        }
    });
    count_panic(done, state, &main);
}

/// A callout has ended.
///
/// # Safety
/// As for [`scheduled`]; headers and chunks are valid until the hook returns.
pub(super) unsafe fn callout_done(
    envoy: ConfigPtr,
    state: *const c_void,
    callout: u64,
    result: u32,
    headers: (*const EnvoyHeader, usize),
    chunks: (*const EnvoyBuffer, usize),
) {
    // SAFETY: the caller's promise.
    let Some(state) = (unsafe { live(state) }) else { return };
    // SAFETY: the caller's promise.
    let main = unsafe { MainHandle::new(state.calls, envoy) };
    let answer = if result == 0 {
        // SAFETY: the caller's promise.
        unsafe { Answer::new(headers, chunks) }.map_err(|_| CalloutFailure::Malformed)
    } else {
        Err(failure(result))
    };
    let done = guard(Hook::ConfigCallout, || state.events.on_answer(&main, CalloutId(callout), answer));
    count_panic(done, state, &main);
}

/// The state, unless Envoy has let it go.
///
/// # Safety
/// Null, or made by [`new`] and valid for `'a`.
unsafe fn live<'a>(state: *const c_void) -> Option<&'a ConfigState> {
    // SAFETY: the caller's promise.
    let state = unsafe { state.cast::<ConfigState>().as_ref() }?;
    (!state.gone.load(Ordering::Acquire)).then_some(state)
}

fn count_panic(done: Option<()>, state: &ConfigState, main: &MainHandle<'_>) {
    if let (None, Some(counter)) = (done, state.panic_counter) {
        // The panic itself is in the log and in `panics`; there is nothing more to do about it.
        let _ = main.count(counter, 1);
    }
}
