//! Faults that a test asks for.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::codes::{Callback, Status};
use crate::vm_id::VmId;

/// A fault to inject into hostcalls. Build it with [`Fault::trap`], [`Fault::status`] or
/// [`Fault::out_of_fuel`] and narrow it down; it strikes once (the n-th matching call) unless
/// [`always`](Fault::always) is set. One that never strikes fails the test: it does not test what it says.
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    pub(crate) call: Option<String>,
    callback: Option<Callback>,
    vm: Option<VmId>,
    nth: u64,
    always: bool,
    seen: u64,
    struck: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    Trap,
    OutOfFuel,
    Status(Status),
}

impl Fault {
    fn new(effect: Effect) -> Self {
        Self { effect, call: None, callback: None, vm: None, nth: 1, always: false, seen: 0, struck: false }
    }

    /// The module traps at the hostcall.
    pub fn trap() -> Self {
        Self::new(Effect::Trap)
    }

    /// The module's fuel ends at the hostcall.
    pub fn out_of_fuel() -> Self {
        Self::new(Effect::OutOfFuel)
    }

    /// The hostcall is not carried out and answers `status`.
    pub fn status(status: Status) -> Self {
        Self::new(Effect::Status(status))
    }

    /// Only calls made during this callback.
    #[must_use]
    pub fn during(mut self, callback: Callback) -> Self {
        self.callback = Some(callback);
        self
    }

    /// Only calls of this VM.
    #[must_use]
    pub fn in_vm(mut self, vm: VmId) -> Self {
        self.vm = Some(vm);
        self
    }

    /// The n-th matching call, counted from 1 (which is also the default).
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// The n-th matching call and every later one.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.always = true;
        self
    }

    fn strikes(&mut self, call: &str, callback: Callback, vm: VmId) -> bool {
        let matches = self.call.as_deref().is_none_or(|name| name == call)
            && self.callback.is_none_or(|wanted| wanted == callback)
            && self.vm.is_none_or(|wanted| wanted == vm);
        if matches {
            self.seen += 1;
        }
        let strikes = matches && (self.seen == self.nth || self.always && self.seen > self.nth);
        self.struck |= strikes;
        strikes
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} at call {} of {}",
            self.effect,
            self.nth,
            self.call.as_deref().unwrap_or("any hostcall")
        )?;
        if let Some(callback) = self.callback {
            write!(f, " during {callback:?}")?;
        }
        if let Some(vm) = self.vm {
            write!(f, " in {vm}")?;
        }
        write!(f, ", of which there were {}", self.seen)
    }
}

/// The faults that are armed.
#[derive(Default)]
pub(crate) struct Faults {
    armed: AtomicUsize,
    faults: Mutex<Vec<Fault>>,
}

impl Faults {
    pub(crate) fn arm(&self, fault: Fault) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.push(fault);
        self.armed.store(faults.len(), Ordering::Release);
    }

    /// Disarms all; gives those that never struck.
    pub(crate) fn disarm(&self) -> Vec<Fault> {
        let mut faults = std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        self.armed.store(0, Ordering::Release);
        faults.retain(|fault| !fault.struck);
        faults
    }

    pub(crate) fn check(&self, call: &str, callback: Callback, vm: VmId) -> Option<Effect> {
        if self.armed.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let mut struck = None;
        for fault in faults.iter_mut() {
            if fault.strikes(call, callback, vm) && struck.is_none() {
                struck = Some(fault.effect);
            }
        }
        struck
    }
}
