//! Waking: from any thread to the thread of a stream or of the configurations.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::error::{AbiResult, HostErrorKind};
use super::raw::{Callbacks, ConfigPtr, FilterPtr, SchedulerPtr};

/// The event that means a tick. Events of the module are `u32`, so none is taken for it.
pub(super) const TICK: u64 = u64::MAX;

thread_local! {
    /// This thread is just handing an event to Envoy.
    static COMMITTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is just handing an event to Envoy.
///
/// Envoy makes the target live on during that: whoever hands over the event may be the last one
/// that holds it, and then it ends on this thread, within the call.
pub(super) fn committing() -> bool {
    COMMITTING.get()
}

/// Hands an event to Envoy.
fn commit(commit: impl FnOnce()) {
    let before = COMMITTING.replace(true);
    commit();
    COMMITTING.set(before);
}

/// A scheduler of Envoy's, owned and deleted by us.
#[derive(Debug)]
struct Owned {
    calls: &'static Callbacks,
    scheduler: NonNull<std::ffi::c_void>,
    delete: unsafe extern "C" fn(SchedulerPtr),
    // What it points to is Envoy's; only the callbacks touch it.
    _thread: PhantomData<*mut ()>,
}

// SAFETY: Envoy's schedulers hold a weak reference to their target and are made to be used from
// any thread: committing and deleting lock what they need.
unsafe impl Send for Owned {}
// SAFETY: see above; committing changes nothing in the scheduler itself.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made by Envoy, ours alone, deleted once.
        unsafe { (self.delete)(self.scheduler.as_ptr()) };
    }
}

/// Wakes one stream, from whatever thread. Once the stream is gone it does nothing.
///
/// It is meant for answers that the main thread has got.
#[derive(Debug)]
pub struct StreamWaker(Owned);

impl StreamWaker {
    /// # Safety
    /// `envoy` is a live filter, on its worker's thread.
    pub(super) unsafe fn new(calls: &'static Callbacks, envoy: FilterPtr) -> AbiResult<Self> {
        // SAFETY: the caller's promise.
        let scheduler = unsafe { (calls.http_filter_scheduler_new)(envoy) };
        let scheduler =
            NonNull::new(scheduler).ok_or(HostErrorKind::BadPointer.of("http_filter_scheduler_new"))?;
        let delete = calls.http_filter_scheduler_delete;
        Ok(Self(Owned { calls, scheduler, delete, _thread: PhantomData }))
    }

    /// Lets [`FilterEvents::on_wake`](super::FilterEvents::on_wake) run on the stream's worker.
    pub fn wake(&self, event: u64) {
        // SAFETY: a live scheduler of a filter; any thread may.
        commit(|| unsafe { (self.0.calls.http_filter_scheduler_commit)(self.0.scheduler.as_ptr(), event) });
    }
}

/// Wakes a configuration on the main thread.
#[derive(Debug)]
pub(super) struct ConfigWaker(Owned);

impl ConfigWaker {
    /// # Safety
    /// `envoy` is a live configuration, on the main thread.
    pub(super) unsafe fn new(calls: &'static Callbacks, envoy: ConfigPtr) -> AbiResult<Self> {
        // SAFETY: the caller's promise.
        let scheduler = unsafe { (calls.http_filter_config_scheduler_new)(envoy) };
        let fault = HostErrorKind::BadPointer.of("http_filter_config_scheduler_new");
        let scheduler = NonNull::new(scheduler).ok_or(fault)?;
        let delete = calls.http_filter_config_scheduler_delete;
        Ok(Self(Owned { calls, scheduler, delete, _thread: PhantomData }))
    }

    /// Lets the main thread run the configuration's hook.
    pub(super) fn wake(&self, event: u64) {
        let scheduler = self.0.scheduler.as_ptr();
        // SAFETY: a live scheduler of a configuration; any thread may.
        commit(|| unsafe { (self.0.calls.http_filter_config_scheduler_commit)(scheduler, event) });
    }
}
