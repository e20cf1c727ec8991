//! What the filters of one host share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use portcullis_envoy::testing;
use portcullis_testhost::native::PluginHandle;

thread_local! {
    /// Whose hook runs on this thread: the log has no other way to know.
    static CURRENT: RefCell<Option<PluginHandle>> = const { RefCell::new(None) };
}

/// The process of one Envoy: give the same one to all filters of a host, and to no other.
#[derive(Clone, Debug)]
pub struct Process {
    module: Rc<testing::Process>,
    handle: Rc<RefCell<Option<PluginHandle>>>,
}

impl Process {
    /// A process with these variables in its environment.
    #[must_use]
    pub fn new(env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let handle = Rc::default();
        let machine = Machine { env, handle: Rc::clone(&handle) };
        Self { module: testing::Process::new(Box::new(machine)), handle }
    }

    /// Runs a hook of the module as this process does.
    pub(crate) fn enter<T>(&self, handle: &PluginHandle, hook: impl FnOnce() -> T) -> T {
        self.handle.borrow_mut().get_or_insert_with(|| handle.clone());
        let before = replace(Some(handle.clone()));
        let done = self.module.enter(hook);
        replace(before);
        done
    }
}

/// The plugin whose hook runs on this thread.
pub(crate) fn current() -> Option<PluginHandle> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Sets the plugin of this thread, and answers the one before. A thread that ends has none any more.
fn replace(plugin: Option<PluginHandle>) -> Option<PluginHandle> {
    CURRENT.try_with(|current| current.replace(plugin)).ok().flatten()
}

/// The host's clocks and randomness.
struct Machine {
    env: HashMap<String, Vec<u8>>,
    /// Known from the first hook on.
    handle: Rc<RefCell<Option<PluginHandle>>>,
}

impl Machine {
    fn clocks(&self) -> (u64, u64) {
        self.handle.borrow().as_ref().map(PluginHandle::clocks).unwrap_or_default()
    }
}

impl testing::Machine for Machine {
    fn wall_clock_ns(&self) -> u64 {
        self.clocks().0
    }

    fn monotonic_ns(&self) -> u64 {
        self.clocks().1
    }

    fn random(&self, out: &mut [u8]) {
        if let Some(handle) = &*self.handle.borrow() {
            handle.random(out);
        }
    }

    fn env(&self, name: &str) -> Option<Vec<u8>> {
        self.env.get(name).cloned()
    }
}
