//! Schedulers, and callouts of a configuration.

use std::ffi::c_void;
use std::time::Duration;

use portcullis_testhost::{HeaderMap, Request};

use crate::objects::{Config, Scheduler, Stream};
use crate::raw::{Buffer, Header, headers};

/// Envoy's numbers for callouts that cannot begin.
const MISSING_HEADERS: u32 = 1;
const UNKNOWN_CLUSTER: u32 = 2;

fn own(scheduler: Scheduler) -> *mut c_void {
    Box::into_raw(Box::new(scheduler)).cast()
}

fn commit(scheduler: *mut c_void, event: u64) {
    // SAFETY: made by `own` and not deleted yet.
    match unsafe { &*scheduler.cast::<Scheduler>() } {
        Scheduler::Stream(waker) => waker.wake(event),
        Scheduler::Config(plugin) => plugin.wake(event),
    }
}

fn delete(scheduler: *mut c_void) {
    // SAFETY: made by `own`; the module deletes it once.
    drop(unsafe { Box::from_raw(scheduler.cast::<Scheduler>()) });
}

pub(super) extern "C" fn http_filter_scheduler_new(envoy: *mut c_void) -> *mut c_void {
    // SAFETY: a live stream.
    own(Scheduler::Stream(unsafe { &*envoy.cast::<Stream>() }.handle.waker()))
}

pub(super) extern "C" fn http_filter_scheduler_commit(scheduler: *mut c_void, event: u64) {
    commit(scheduler, event);
}

pub(super) extern "C" fn http_filter_scheduler_delete(scheduler: *mut c_void) {
    delete(scheduler);
}

pub(super) extern "C" fn http_filter_config_scheduler_new(envoy: *mut c_void) -> *mut c_void {
    // SAFETY: a live configuration.
    own(Scheduler::Config(unsafe { &*envoy.cast::<Config>() }.handle.clone()))
}

pub(super) extern "C" fn http_filter_config_scheduler_commit(scheduler: *mut c_void, event: u64) {
    commit(scheduler, event);
}

pub(super) extern "C" fn http_filter_config_scheduler_delete(scheduler: *mut c_void) {
    delete(scheduler);
}

pub(super) extern "C" fn http_filter_config_http_callout(
    envoy: *mut c_void,
    id: *mut u64,
    cluster: Buffer,
    first: *const Header,
    count: usize,
    body: Buffer,
    timeout_ms: u64,
) -> u32 {
    // SAFETY: a live configuration; what the module hands over lives during the call.
    let (config, cluster, given, body) =
        unsafe { (&*envoy.cast::<Config>(), cluster.text(), headers(first, count), body.bytes()) };
    let mut map: HeaderMap = given.into_iter().collect();
    if [":method", ":path", ":authority"].iter().any(|name| map.get_bytes(name).is_none()) {
        return MISSING_HEADERS;
    }
    if !body.is_empty() {
        map.set("content-length", body.len().to_string());
    }
    let mut request = Request::exact(map);
    request.body = if body.is_empty() { Vec::new() } else { vec![body.to_vec()] };
    match config.handle.call(&cluster, request, Duration::from_millis(timeout_ms)) {
        None => UNKNOWN_CLUSTER,
        Some(number) => {
            // SAFETY: the module's local.
            unsafe { *id = number };
            0
        }
    }
}
