//! Panics end where Envoy calls: one that left an `extern "C"` function would end the proxy.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::log::log;
use super::types::{Hook, LogLevel};

static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many panics were caught since the module was loaded.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Runs what a hook does; `None` when it has panicked.
///
/// What a panic leaves behind half done is its filter, which gets no further event, or the state
/// of a configuration, which is shared by threads and so has to stand an abandoned change anyhow.
pub(super) fn guard<T>(hook: Hook, run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            PANICS.fetch_add(1, Ordering::Relaxed);
            // Dropping a payload may panic too; a panic is rare enough to leak it.
            std::mem::forget(payload);
            log(LogLevel::Critical, &format!("portcullis: a panic in {hook:?} was caught"));
            None
        }
    }
}

/// Sends what a panic says into Envoy's log, where it says where.
pub(super) fn tell_panics() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        log(LogLevel::Critical, &format!("portcullis: {info}"));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_counted() {
        let before = panics();
        assert_eq!(guard(Hook::ConfigNew, || 7), Some(7));
        assert_eq!(guard::<()>(Hook::ConfigNew, || panic!("in a test")), None);
        assert!(panics() > before);
    }
}
