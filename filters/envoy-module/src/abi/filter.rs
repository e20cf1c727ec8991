//! A stream in the filter: what Envoy holds for it, and the hooks that belong to it.
//!
//! A reply and a resumption can end the stream within the call, and with it everything here. So
//! both are only noted while an event runs, and done when nothing of the filter is borrowed.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;

use super::catch::guard;
use super::config::ConfigState;
use super::events::{BodyAction, FilterEvents, HeadersAction, TrailersAction};
use super::raw::{FilterPtr, ModuleBuffer};
use super::reply::{LocalReply, send};
use super::stream::{Left, StreamHandle};
use super::types::Hook;

/// Which way of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Request,
    Response,
}

/// What a stream is in the module.
struct FilterState {
    /// Envoy's filter holds its configuration, so this outlives every stream.
    config: *const ConfigState,
    /// `None` when its beginning has panicked.
    events: RefCell<Option<Box<dyn FilterEvents>>>,
    left: Left,
    held: Cell<Option<Way>>,
    broken: Cell<bool>,
    replied: Cell<bool>,
}

/// Envoy's number for "go on", whatever it is about.
const CONTINUE: u32 = 0;

/// What an event can answer, in Envoy's numbers.
pub(super) trait Action {
    /// For a stream that was replied to: stop here, keep nothing.
    const REPLIED: u32;

    fn number(&self) -> u32;
}

impl Action for HeadersAction {
    const REPLIED: u32 = 1;

    fn number(&self) -> u32 {
        match self {
            Self::Continue => CONTINUE,
            Self::AwaitBody => 1,
            // With flow control: 3 would refuse bodies beyond the buffer limit.
            Self::Hold => 4,
        }
    }
}

impl Action for BodyAction {
    const REPLIED: u32 = 3;

    fn number(&self) -> u32 {
        match self {
            Self::Continue => CONTINUE,
            Self::Buffer => 1,
            Self::Hold => 2,
        }
    }
}

impl Action for TrailersAction {
    const REPLIED: u32 = 1;

    fn number(&self) -> u32 {
        match self {
            Self::Continue => CONTINUE,
            Self::Hold => 1,
        }
    }
}

/// What came out of an event.
enum Flow<T> {
    /// The event's own answer.
    Act(T),
    /// A reply went out; nothing of the filter may be touched any more.
    Replied,
    /// The filter is broken and there is nothing to refuse.
    Pass,
}

/// A stream begins. It never refuses: a filter whose beginning panics refuses its request.
///
/// # Safety
/// Called by Envoy's hook with a live configuration.
pub(super) unsafe fn new(config: *const c_void, envoy: FilterPtr) -> *const c_void {
    let config = config.cast::<ConfigState>();
    // SAFETY: the caller's promise.
    let state = unsafe { &*config };
    let events = guard(Hook::FilterNew, || state.events.open());
    let broken = events.is_none();
    let filter = Box::new(FilterState {
        config,
        events: RefCell::new(events),
        left: Left::default(),
        held: Cell::new(None),
        broken: Cell::new(broken),
        replied: Cell::new(false),
    });
    if broken {
        count_panic(&filter, envoy);
    }
    Box::into_raw(filter).cast_const().cast()
}

/// A stream is gone.
///
/// # Safety
/// Called by Envoy's hook with what [`new`] made, once.
pub(super) unsafe fn destroy(filter: *const c_void) {
    let filter = filter.cast::<FilterState>().cast_mut();
    if !filter.is_null() {
        // SAFETY: the caller's promise.
        let _ = guard(Hook::FilterDestroy, || drop(unsafe { Box::from_raw(filter) }));
    }
}

/// A piece of a stream; answers Envoy's number for what happens to it.
///
/// # Safety
/// As for [`enter`].
pub(super) unsafe fn piece<A: Action>(
    hook: Hook,
    envoy: FilterPtr,
    filter: *const c_void,
    event: impl FnOnce(&mut dyn FilterEvents, &StreamHandle<'_>) -> A,
) -> u32 {
    // SAFETY: the caller's promise.
    let number = match unsafe { enter(hook, envoy, filter, event) } {
        Flow::Act(action) => action.number(),
        Flow::Pass => CONTINUE,
        Flow::Replied => return A::REPLIED,
    };
    // SAFETY: no reply went out, so the filter is still there.
    if let Some(state) = unsafe { filter.cast::<FilterState>().as_ref() } {
        let way = if is_request(hook) { Way::Request } else { Way::Response };
        state.held.set((number != CONTINUE).then_some(way));
    }
    number
}

/// The stream was woken.
///
/// # Safety
/// As for [`enter`].
pub(super) unsafe fn scheduled(envoy: FilterPtr, filter: *const c_void, event: u64) {
    let wake = |events: &mut dyn FilterEvents, stream: &StreamHandle<'_>| {
        events.on_wake(stream, event);
        stream.take_resume()
    };
    // SAFETY: the caller's promise.
    if !matches!(unsafe { enter(Hook::Scheduled, envoy, filter, wake) }, Flow::Act(true)) {
        return;
    }
    // SAFETY: no reply went out, so the filter is still there; the borrow ends before Envoy runs.
    let (way, calls) = unsafe {
        let state = &*filter.cast::<FilterState>();
        (state.held.take(), (*state.config).calls)
    };
    // SAFETY: the filter lives, on its worker's thread.
    match way {
        Some(Way::Request) => unsafe { (calls.http_filter_continue_decoding)(envoy) },
        Some(Way::Response) => unsafe { (calls.http_filter_continue_encoding)(envoy) },
        None => {}
    }
}

/// The stream is complete.
///
/// # Safety
/// As for [`enter`].
pub(super) unsafe fn complete(envoy: FilterPtr, filter: *const c_void) {
    // SAFETY: the caller's promise.
    let _ =
        unsafe { enter(Hook::StreamComplete, envoy, filter, |events, stream| events.on_complete(stream)) };
}

/// Runs an event of a stream, and sends the reply that it leaves.
///
/// # Safety
/// Called by Envoy's hook on the stream's worker, with a live filter of Envoy's and what [`new`]
/// made for it.
unsafe fn enter<T>(
    hook: Hook,
    envoy: FilterPtr,
    filter: *const c_void,
    event: impl FnOnce(&mut dyn FilterEvents, &StreamHandle<'_>) -> T,
) -> Flow<T> {
    // SAFETY: the caller's promise.
    let Some(state) = (unsafe { filter.cast::<FilterState>().as_ref() }) else { return Flow::Pass };
    // SAFETY: the configuration outlives its streams.
    let calls = unsafe { (*state.config).calls };
    let acted = if state.broken.get() { None } else { run(hook, envoy, state, event) };
    let reply = match &acted {
        Some(_) => state.left.reply.take(),
        // What a broken filter has to refuse: every request, and the response in which it broke.
        None => (!state.broken.replace(true) || is_request(hook)).then(LocalReply::panicked),
    };
    // A second reply would only cut off the first one.
    if let Some(reply) = reply.filter(|_| hook != Hook::StreamComplete && !state.replied.replace(true)) {
        // SAFETY: the filter lives, and nothing of it is used after this.
        unsafe { send(calls, envoy, &reply) };
        return Flow::Replied;
    }
    acted.map_or(Flow::Pass, Flow::Act)
}

fn run<T>(
    hook: Hook,
    envoy: FilterPtr,
    state: &FilterState,
    event: impl FnOnce(&mut dyn FilterEvents, &StreamHandle<'_>) -> T,
) -> Option<T> {
    // SAFETY: `enter` got the filter from Envoy for this hook, and the configuration outlives it.
    let stream = unsafe {
        let config = &*state.config;
        StreamHandle::new(config.calls, envoy, &state.left, &config.waker)
    };
    // Taken only if Envoy ever called a hook within another one of the same stream.
    let mut events = state.events.try_borrow_mut().ok()?;
    let events = events.as_mut()?;
    state.left.resume.set(false);
    let acted = guard(hook, || event(events.as_mut(), &stream));
    if acted.is_none() {
        count_panic(state, envoy);
    }
    acted
}

fn is_request(hook: Hook) -> bool {
    matches!(hook, Hook::RequestHeaders | Hook::RequestBody | Hook::RequestTrailers | Hook::Scheduled)
}

fn count_panic(state: &FilterState, envoy: FilterPtr) {
    // SAFETY: the configuration outlives its streams.
    let config = unsafe { &*state.config };
    if let Some(counter) = config.panic_counter {
        let none: *const ModuleBuffer = std::ptr::null();
        // SAFETY: a live filter; there are no labels. A refusal could only be logged again.
        let _ = unsafe { (config.calls.http_filter_increment_counter)(envoy, counter.0, none, 0, 1) };
    }
}
