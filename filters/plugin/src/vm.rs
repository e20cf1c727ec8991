//! What all plugins of this module share within one VM, that is within one worker.
//!
//! Nothing here is reachable from another VM or another plugin: it is the module's own memory. A stage
//! hands a request over to the next plugin by a random 128-bit handle in the request's filter state;
//! what the handle stands for stays here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::exchange::Exchange;
use crate::link::{Link, LinkKey};

/// A request as shared by the plugins that see it.
pub(crate) type SharedExchange = Rc<RefCell<Exchange>>;

/// A connection to the control service as shared by the plugins that use it.
pub(crate) type SharedLink = Rc<RefCell<Link>>;

/// The random name under which plugins hand a request over.
pub(crate) type Handle = [u8; 16];

#[derive(Default)]
struct Vm {
    links: Vec<(LinkKey, Weak<RefCell<Link>>)>,
    exchanges: HashMap<Handle, Weak<RefCell<Exchange>>>,
    roots: u64,
}

thread_local! {
    static VM: RefCell<Vm> = RefCell::default();
}

/// Runs with the VM's state; `None` when it is in use already, which callers treat as a failure.
fn with<T>(run: impl FnOnce(&mut Vm) -> T) -> Option<T> {
    VM.try_with(|vm| vm.try_borrow_mut().ok().map(|mut vm| run(&mut vm))).ok().flatten()
}

/// A number for a root context, unique within the VM.
pub(crate) fn next_root() -> u64 {
    with(|vm| {
        vm.roots = vm.roots.wrapping_add(1);
        vm.roots
    })
    .unwrap_or_default()
}

/// The link of a source of snapshots, made when nobody has it.
pub(crate) fn link(key: &LinkKey, make: impl FnOnce() -> Option<Link>) -> Option<SharedLink> {
    with(|vm| {
        vm.links.retain(|(_, link)| link.strong_count() > 0);
        if let Some(link) = vm.links.iter().find(|(k, _)| k == key).and_then(|(_, link)| link.upgrade()) {
            return Some(link);
        }
        let link = Rc::new(RefCell::new(make()?));
        vm.links.push((key.clone(), Rc::downgrade(&link)));
        Some(link)
    })
    .flatten()
}

/// Makes a request findable for the plugins after this one.
pub(crate) fn publish(handle: Handle, exchange: &SharedExchange) {
    with(|vm| vm.exchanges.insert(handle, Rc::downgrade(exchange)));
}

/// The request that an earlier plugin published.
pub(crate) fn find(handle: &[u8]) -> Option<SharedExchange> {
    let handle: Handle = handle.try_into().ok()?;
    with(|vm| vm.exchanges.get(&handle).and_then(Weak::upgrade)).flatten()
}

/// Forgets a request.
pub(crate) fn withdraw(handle: &Handle) {
    with(|vm| vm.exchanges.remove(handle));
}
