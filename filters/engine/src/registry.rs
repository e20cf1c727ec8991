//! What the plugins of one module share on one thread.
//!
//! A stage hands a request over to the next plugin by a random 128-bit handle that it leaves on the request;
//! what the handle stands for stays here, in the module's own memory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::exchange::Exchange;

/// A request as shared by the plugins that see it.
pub(crate) type SharedExchange = Rc<RefCell<Exchange>>;

/// The random name under which plugins hand a request over.
pub(crate) type Handle = [u8; 16];

thread_local! {
    static EXCHANGES: RefCell<HashMap<Handle, Weak<RefCell<Exchange>>>> = RefCell::default();
}

/// Runs with the requests; `None` when they are in use already, which callers treat as a failure.
fn with<T>(run: impl FnOnce(&mut HashMap<Handle, Weak<RefCell<Exchange>>>) -> T) -> Option<T> {
    EXCHANGES.try_with(|all| all.try_borrow_mut().ok().map(|mut all| run(&mut all))).ok().flatten()
}

/// Makes a request findable for the plugins after this one.
pub(crate) fn publish(handle: Handle, exchange: &SharedExchange) {
    with(|all| all.insert(handle, Rc::downgrade(exchange)));
}

/// The request that an earlier plugin published.
pub(crate) fn find(handle: &[u8]) -> Option<SharedExchange> {
    let handle: Handle = handle.try_into().ok()?;
    with(|all| all.get(&handle).and_then(Weak::upgrade)).flatten()
}

/// Forgets a request.
pub(crate) fn withdraw(handle: &Handle) {
    with(|all| all.remove(handle));
}
