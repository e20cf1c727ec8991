//! What the plugins of one module share on one thread.
//!
//! A stage hands a request over to the next plugin by a random 128-bit handle that it leaves on the request;
//! what the handle stands for stays here, in the module's own memory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::exchange::request_state::RequestState;

/// A request as shared by the plugins that see it.
pub(crate) type SharedExchange = Rc<RefCell<RequestState>>;

/// The random name under which plugins hand a request over.
pub(crate) type Handle = [u8; 16];

/// Requests whose memory is kept for later ones.
const SPARE: usize = 16;

thread_local! {
    /// Requests that are over. Nobody else holds them.
    static SPARES: RefCell<Vec<SharedExchange>> = const { RefCell::new(Vec::new()) };
    static EXCHANGES: RefCell<HashMap<Handle, Weak<RefCell<RequestState>>>> = RefCell::default();
}

/// Runs with the requests; `None` when they are in use already, which callers treat as a failure.
fn with<T>(run: impl FnOnce(&mut HashMap<Handle, Weak<RefCell<RequestState>>>) -> T) -> Option<T> {
    EXCHANGES.try_with(|all| all.try_borrow_mut().ok().map(|mut all| run(&mut all))).ok().flatten()
}

/// A request of which nothing is known yet.
pub(crate) fn begin() -> SharedExchange {
    let spare = SPARES.try_with(|spares| spares.try_borrow_mut().ok()?.pop());
    spare.ok().flatten().unwrap_or_default()
}

/// Forgets a request; when this plugin was the last that knew it, its memory serves for another.
pub(crate) fn end(mut exchange: SharedExchange) {
    let Some(last) = Rc::get_mut(&mut exchange) else { return };
    last.get_mut().clear();
    let _ = SPARES.try_with(|spares| {
        if let Ok(mut spares) = spares.try_borrow_mut()
            && spares.len() < SPARE
        {
            spares.push(exchange);
        }
    });
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
