//! What all plugins of this module share within one VM, that is within one worker.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use portcullis_engine::Worker;
use portcullis_engine::source::SourceKey;

#[derive(Default)]
struct Vm {
    workers: Vec<(SourceKey, Weak<Worker>)>,
    plugins: u64,
}

thread_local! {
    static VM: RefCell<Vm> = RefCell::default();
}

/// Runs with the VM's state; `None` when it is in use already, which callers treat as a failure.
fn with<T>(run: impl FnOnce(&mut Vm) -> T) -> Option<T> {
    VM.try_with(|vm| vm.try_borrow_mut().ok().map(|mut vm| run(&mut vm))).ok().flatten()
}

/// A number for a plugin, unique within the VM.
pub(crate) fn next_plugin() -> u64 {
    with(|vm| {
        vm.plugins = vm.plugins.wrapping_add(1);
        vm.plugins
    })
    .unwrap_or_default()
}

/// The worker of a source of snapshots, made when nobody has it.
pub(crate) fn worker(key: &SourceKey, make: impl FnOnce() -> Option<Worker>) -> Option<Arc<Worker>> {
    with(|vm| {
        vm.workers.retain(|(_, worker)| worker.strong_count() > 0);
        let known = vm.workers.iter().find(|(k, _)| k == key);
        if let Some(worker) = known.and_then(|(_, worker)| worker.upgrade()) {
            return Some(worker);
        }
        let worker = Arc::new(make()?);
        vm.workers.push((key.clone(), Arc::downgrade(&worker)));
        Some(worker)
    })
    .flatten()
}
