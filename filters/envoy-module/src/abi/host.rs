//! Which Envoy this is: its callbacks, found by name, and the version of its interface.
//!
//! Envoy compares the version that a module answers with its own, but only warns and goes on, so
//! the module has to look for itself. Two questions, both asked before any callback is called:
//!
//! 1. *Is every callback there that this layer calls?* Envoy exports them from its executable.
//! 2. *Which version does Envoy itself speak?* Envoy carries a module of its own, statically
//!    linked and built from the same tree. Its `on_program_init` answers that tree's version, and
//!    may be called again and again: it only remembers one function pointer.
//!
//! A build without that module cannot be asked. Then the operator has to say the version in
//! `PORTCULLIS_ENVOY_ABI`; a guess could mean undefined behaviour.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use thiserror::Error;

use super::raw::{Callbacks, ProgramInit};

/// Versions of the interface that this layer was tested with.
const KNOWN: &[&CStr] = &[c"v0.2.0"];

/// `on_program_init` of the module that Envoy carries (its Hickory DNS resolver).
const OWN_MODULE: &CStr = c"hickory_dns_static_envoy_dynamic_module_on_program_init";

/// Where an operator says the version of an Envoy that cannot be asked.
const TOLD_BY: &str = "PORTCULLIS_ENVOY_ABI";

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
}

/// Why the module does not load.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("this Envoy lacks {} callback(s) that are needed: {}", .0.len(), .0.join(", "))]
    Missing(Vec<&'static str>),
    #[error("this Envoy speaks version {0:?} of the interface; this build knows {known}", known = known())]
    Unknown(String),
    #[error(
        "this Envoy does not tell which version of the interface it speaks. If it is Envoy 1.40 \
         or a proxy built from it, set {TOLD_BY}={known} in its environment",
        known = known()
    )]
    Untold,
}

/// The callbacks, once the module is loaded; `None` in a process that is no Envoy.
pub(super) fn callbacks() -> Option<&'static Callbacks> {
    CALLBACKS.get()
}

/// Finds the callbacks and answers the version to tell Envoy.
pub(super) fn recognise() -> Result<&'static CStr, Refusal> {
    // SAFETY: `find` looks the very name up among the exports of the process; that the signatures
    // are those of the table follows from the version, which is known before one is called.
    let callbacks = unsafe { Callbacks::load(find) }.map_err(Refusal::Missing)?;
    let version = judge(own_version().as_deref(), std::env::var(TOLD_BY).ok().as_deref())?;
    // A second load of the same library finds the same functions.
    let _ = CALLBACKS.set(callbacks);
    Ok(version)
}

/// Takes the callbacks of a test in place of Envoy's.
///
/// # Errors
/// The names of those that are missing.
///
/// # Safety
/// As for [`Callbacks::load`].
#[cfg(feature = "testing")]
pub(super) unsafe fn play(find: impl Fn(&CStr) -> *mut c_void) -> Result<(), Vec<&'static str>> {
    // SAFETY: the caller's promise.
    let callbacks = unsafe { Callbacks::load(find) }?;
    // A test process has one table, whoever brings it first.
    let _ = CALLBACKS.set(callbacks);
    Ok(())
}

/// Which known version it is: by what Envoy says, else by what the operator says.
fn judge(own: Option<&str>, told: Option<&str>) -> Result<&'static CStr, Refusal> {
    let version = own.or(told).ok_or(Refusal::Untold)?;
    let known = KNOWN.iter().find(|known| known.to_bytes() == version.as_bytes());
    known.copied().ok_or_else(|| Refusal::Unknown(version.to_owned()))
}

/// The version that the module answers which Envoy carries.
fn own_version() -> Option<String> {
    let init = find(OWN_MODULE);
    if init.is_null() {
        return None;
    }
    // SAFETY: Envoy exports this symbol for one purpose: to be called as this function.
    let init = unsafe { std::mem::transmute::<*mut c_void, ProgramInit>(init) };
    // SAFETY: takes nothing, and answers null or a string that lives as long as Envoy.
    let version = unsafe { init() };
    if version.is_null() {
        return None;
    }
    // SAFETY: see above: a string that ends with NUL.
    let version = unsafe { CStr::from_ptr(version) };
    Some(version.to_string_lossy().into_owned())
}

/// A symbol among the exports of the process; null when there is none.
fn find(symbol: &CStr) -> *mut c_void {
    // A null handle means the global scope: the executable and what it was linked with, not the
    // libraries that were loaded privately, as modules are.
    // SAFETY: the name ends with NUL, and the call has no other condition.
    unsafe { dlsym(std::ptr::null_mut(), symbol.as_ptr()) }
}

fn known() -> String {
    KNOWN.iter().map(|version| version.to_string_lossy()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_no_envoy_is_refused_by_the_missing_callbacks() {
        let Err(Refusal::Missing(names)) = recognise() else { panic!("no Envoy here") };
        assert!(names.contains(&"http_get_headers") && names.contains(&"log"), "{names:?}");
        assert!(callbacks().is_none());
    }

    #[test]
    fn one_missing_callback_is_named() {
        let gap = c"envoy_dynamic_module_callback_http_clear_route_cache";
        let there = |name: &CStr| {
            if name == gap { std::ptr::null_mut() } else { std::ptr::dangling_mut::<c_void>() }
        };
        // SAFETY: the table is dropped unused.
        let missing = unsafe { Callbacks::load(there) }.unwrap_err();
        assert_eq!(missing, ["http_clear_route_cache"]);
        assert!(Refusal::Missing(missing).to_string().contains("1 callback"));
    }

    #[test]
    fn what_envoy_says_counts_more_than_what_the_operator_says() {
        assert_eq!(judge(Some("v0.2.0"), None), Ok(c"v0.2.0"));
        assert_eq!(judge(Some("v0.3.0"), Some("v0.2.0")), Err(Refusal::Unknown("v0.3.0".to_owned())));
    }

    #[test]
    fn an_envoy_that_cannot_be_asked_needs_the_operator() {
        assert_eq!(judge(None, Some("v0.2.0")), Ok(c"v0.2.0"));
        assert_eq!(judge(None, Some("v9")), Err(Refusal::Unknown("v9".to_owned())));
        assert_eq!(judge(None, None), Err(Refusal::Untold));
        assert!(Refusal::Untold.to_string().contains("PORTCULLIS_ENVOY_ABI=v0.2.0"));
    }
}
