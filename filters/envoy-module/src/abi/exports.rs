//! The hooks that Envoy calls, without their symbols: [`module!`](crate::module) emits those.
//!
//! Not for callers: public only because the macro's expansion stands in another crate.

use std::ffi::{c_char, c_void};

use super::events::ConfigFactory;
use super::types::{Hook, LogLevel};
use super::{catch, config, filter, host, log};

pub use super::raw::{EnvoyBuffer, EnvoyHeader};

/// The module is loaded; null refuses.
#[must_use]
pub fn program_init() -> *const c_char {
    let version = catch::guard(Hook::ProgramInit, || {
        let version = host::recognise();
        match version {
            Ok(_) => catch::tell_panics(),
            // Envoy's log is out of reach: which function is behind the name is not known.
            Err(ref refusal) => eprintln!("portcullis: the module does not load: {refusal}"),
        }
        version.ok()
    });
    version.flatten().map_or(std::ptr::null(), std::ffi::CStr::as_ptr)
}

/// The event of a configuration that means a tick.
#[cfg(feature = "testing")]
pub const TICK: u64 = super::scheduler::TICK;

/// A test plays Envoy: the callbacks are its own, and [`program_init`] is not called.
///
/// # Errors
/// The names of callbacks that it lacks.
///
/// # Safety
/// `find` answers null or a function of that name with the signature that Envoy's has.
#[cfg(feature = "testing")]
pub unsafe fn play_envoy(find: impl Fn(&std::ffi::CStr) -> *mut c_void) -> Result<(), Vec<&'static str>> {
    // SAFETY: the caller's promise.
    unsafe { host::play(find) }
}

/// # Safety
/// For Envoy's hook `http_filter_config_new` alone.
#[must_use]
pub unsafe fn config_new(
    envoy: *mut c_void,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
    factory: ConfigFactory,
) -> *const c_void {
    // SAFETY: the caller's promise.
    unsafe { config::new(envoy, name, config, factory) }
}

/// # Safety
/// For Envoy's hook `http_filter_config_destroy` alone.
pub unsafe fn config_destroy(config: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe { config::destroy(config) };
}

/// # Safety
/// For Envoy's hook `http_filter_config_scheduled` alone.
pub unsafe fn config_scheduled(envoy: *mut c_void, config: *const c_void, event: u64) {
    // SAFETY: the caller's promise.
    unsafe { config::scheduled(envoy, config, event) };
}

/// # Safety
/// For Envoy's hook `http_filter_config_http_callout_done` alone.
pub unsafe fn config_callout_done(
    envoy: *mut c_void,
    config: *const c_void,
    callout: u64,
    result: u32,
    headers: (*const EnvoyHeader, usize),
    chunks: (*const EnvoyBuffer, usize),
) {
    // SAFETY: the caller's promise.
    unsafe { config::callout_done(envoy, config, callout, result, headers, chunks) };
}

/// # Safety
/// For Envoy's hook `http_filter_new` alone.
#[must_use]
pub unsafe fn filter_new(config: *const c_void, envoy: *mut c_void) -> *const c_void {
    // SAFETY: the caller's promise.
    unsafe { filter::new(config, envoy) }
}

/// # Safety
/// For Envoy's hook `http_filter_destroy` alone.
pub unsafe fn filter_destroy(filter: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe { filter::destroy(filter) };
}

/// # Safety
/// For Envoy's hook `http_filter_scheduled` alone.
pub unsafe fn filter_scheduled(envoy: *mut c_void, filter: *const c_void, event: u64) {
    // SAFETY: the caller's promise.
    unsafe { filter::scheduled(envoy, filter, event) };
}

/// # Safety
/// For Envoy's hook `http_filter_stream_complete` alone.
pub unsafe fn stream_complete(envoy: *mut c_void, filter: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe { filter::complete(envoy, filter) };
}

/// Declares a hook for a piece of a stream.
macro_rules! pieces {
    ($($name:ident = $hook:ident, $event:ident($($end:ident)?);)*) => {$(
        /// # Safety
        /// For Envoy's hook of this name alone.
        #[must_use]
        pub unsafe fn $name(envoy: *mut c_void, filter: *const c_void $(, $end: bool)?) -> u32 {
            // SAFETY: the caller's promise.
            unsafe {
                filter::piece(Hook::$hook, envoy, filter, |events, stream| events.$event(stream $(, $end)?))
            }
        }
    )*};
}

pieces! {
    request_headers = RequestHeaders, on_request_headers(end);
    request_body = RequestBody, on_request_body(end);
    request_trailers = RequestTrailers, on_request_trailers();
    response_headers = ResponseHeaders, on_response_headers(end);
    response_body = ResponseBody, on_response_body(end);
    response_trailers = ResponseTrailers, on_response_trailers();
}

/// An event that this module never asks for.
pub fn unasked(hook: &str) {
    log::log(LogLevel::Error, &format!("portcullis: Envoy called {hook}, which is not in use"));
}
