//! What a test host puts in place of the process and its machine, so that it owns the time and that two
//! hosts in one process share nothing.

use std::cell::RefCell;
use std::rc::Rc;

use crate::adapter::Homes;

/// The machine of a test.
pub trait Machine {
    /// The wall clock, nanoseconds since 1970.
    fn wall_clock_ns(&self) -> u64;

    /// The monotonic clock, nanoseconds since an unknown moment.
    fn monotonic_ns(&self) -> u64;

    /// Fills bytes.
    fn random(&self, out: &mut [u8]);

    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<Vec<u8>>;
}

/// What the filters of one Envoy share: a machine, and the homes of their sources.
pub struct Process {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) homes: Homes,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Process>>> = const { RefCell::new(None) };
}

/// The process of the test whose hook runs on this thread.
pub(crate) fn current() -> Option<Rc<Process>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Sets the process of this thread, and answers the one before. A thread that ends has none any more.
fn replace(process: Option<Rc<Process>>) -> Option<Rc<Process>> {
    CURRENT.try_with(|current| current.replace(process)).ok().flatten()
}

impl Process {
    /// A process on a machine.
    #[must_use]
    pub fn new(machine: Box<dyn Machine>) -> Rc<Self> {
        Rc::new(Self { machine, homes: Homes::default() })
    }

    /// Runs a hook of Envoy in this process.
    pub fn enter<T>(self: &Rc<Self>, hook: impl FnOnce() -> T) -> T {
        let before = replace(Some(Rc::clone(self)));
        let done = hook();
        replace(before);
        done
    }
}
