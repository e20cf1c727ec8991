//! The homes of this process.
//!
//! A home whose last configuration has ended may hold audit records that were not delivered. Whatever configuration
//! ticks then delivers them, for nobody else can; after that the home is gone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_engine::Plugin;
use portcullis_engine::port::{CallId, CalloutResponse, Proxy};
use portcullis_engine::source::SourceKey;

use super::home::{Home, Homes, lock};

/// Numbers that are given once in a process: plugins, streams, calls.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

static HOMES: Homes = Mutex::new(Vec::new());

/// The homes of this process.
fn with_homes<T>(act: impl FnOnce(&Homes) -> T) -> T {
    #[cfg(feature = "testing")]
    if let Some(process) = crate::testing::current() {
        return act(&process.homes);
    }
    act(&HOMES)
}

/// A number that nobody else in this process has.
pub(super) fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// The homes that nobody uses.
fn alone() -> Vec<Arc<Home>> {
    with_homes(|homes| {
        let homes = lock(homes);
        homes.iter().map(|(_, home)| home).filter(|home| home.is_alone()).cloned().collect()
    })
}

/// The home of a plugin's source, made when nobody has it. Whoever gets it is its user, until [`Home::leave`].
pub(super) fn home_of(proxy: &dyn Proxy, plugin: &Plugin, concurrency: u32) -> Option<Arc<Home>> {
    let key = SourceKey::of(&plugin.config);
    with_homes(|homes| {
        let mut homes = lock(homes);
        if let Some((_, home)) = homes.iter().find(|(known, _)| *known == key) {
            home.join(proxy, plugin);
            return Some(Arc::clone(home));
        }
        let home = Arc::new(Home::new(proxy, plugin, concurrency)?);
        homes.push((key, Arc::clone(&home)));
        Some(home)
    })
}

/// A tick of the main thread.
pub(super) fn on_tick(home: &Home, proxy: &dyn Proxy, plugin: u64) {
    home.workers().iter().for_each(|worker| worker.on_tick(proxy, plugin));
    home.wake(plugin);
    let over: Vec<_> = alone().into_iter().filter(|home| home.deliver_rest(proxy, plugin)).collect();
    if !over.is_empty() {
        let is_over = |home: &Arc<Home>| home.is_alone() && over.iter().any(|o| Arc::ptr_eq(o, home));
        with_homes(|homes| lock(homes).retain(|(_, home)| !is_over(home)));
    }
}

/// An answer to a call, its own or that of a home that nobody uses.
pub(super) fn on_answer(home: &Home, proxy: &dyn Proxy, plugin: u64, answer: &CalloutResponse<'_>) {
    let taken = |home: &Home| home.workers().iter().any(|worker| worker.on_answer(proxy, answer));
    if !taken(home) {
        let _taken = alone().iter().any(|home| taken(home));
    }
    home.wake(plugin);
}

/// A call could not be sent.
pub(super) fn on_failure(home: &Home, proxy: &dyn Proxy, plugin: u64, call: CallId) {
    on_answer(home, proxy, plugin, &CalloutResponse { call, status: None, body: None });
}
