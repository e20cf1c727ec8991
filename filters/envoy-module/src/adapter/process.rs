//! What the filters of one process share that decide by the same source.
//!
//! A home whose last configuration has ended may hold audit records that were not delivered. Whatever configuration
//! ticks then delivers them, for nobody else can; after that the home is gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_engine::port::{CallId, CalloutResponse, Proxy, Severity, StreamKey};
use portcullis_engine::source::SourceKey;
use portcullis_engine::{Plugin, PolicySource, Worker, worker};
use portcullis_protocol::audit::StreamId;

use crate::abi::StreamWaker;

/// Numbers that are given once in a process: plugins, streams, calls.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// For so long records of configurations that are gone are tried to be delivered, in milliseconds.
const GIVE_UP_MS: u64 = 600_000;

/// One home for each source.
pub(crate) type Homes = Mutex<Vec<(SourceKey, Arc<Home>)>>;

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

/// Everything behind these locks is whole after each step, so a panic leaves nothing half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One source and what each worker has of its own.
pub(crate) struct Home {
    /// Configurations that use it.
    users: AtomicUsize,
    /// Since when nobody does, by the monotonic clock in milliseconds; 0: somebody does, or nobody has looked.
    alone_since_ms: AtomicU64,
    /// One for each of Envoy's workers, by its index.
    workers: Vec<Arc<Worker>>,
    /// How to wake the requests of each worker that wait or are open.
    wakers: Vec<Wakers>,
}

/// The homes that nobody uses.
fn alone() -> Vec<Arc<Home>> {
    with_homes(|homes| {
        let homes = lock(homes);
        homes.iter().map(|(_, home)| home).filter(|home| home.is_alone()).cloned().collect()
    })
}

/// By the request. A waker stays until its request is gone: one that was taken out for a wake could be missed by
/// the next.
type Wakers = Mutex<HashMap<StreamKey, Arc<StreamWaker>>>;

impl Home {
    /// The home of a plugin's source, made when nobody has it. Whoever gets it is its user, until [`Home::leave`].
    pub(super) fn of(proxy: &dyn Proxy, plugin: &Plugin, concurrency: u32) -> Option<Arc<Self>> {
        let key = SourceKey::of(&plugin.config);
        with_homes(|homes| {
            let mut homes = lock(homes);
            if let Some((_, home)) = homes.iter().find(|(known, _)| *known == key) {
                home.users.fetch_add(1, Ordering::Relaxed);
                home.alone_since_ms.store(0, Ordering::Relaxed);
                if let Some(worker) = home.workers.first() {
                    worker.compare_limits(proxy, &plugin.config);
                }
                return Some(Arc::clone(home));
            }
            let home = Arc::new(Self::new(proxy, plugin, concurrency)?);
            homes.push((key, Arc::clone(&home)));
            Some(home)
        })
    }

    fn new(proxy: &dyn Proxy, plugin: &Plugin, concurrency: u32) -> Option<Self> {
        let reader: [u8; 16] = worker::random(proxy)?;
        let source = Arc::new(PolicySource::new(proxy, &plugin.config, &reader)?);
        let new_worker = |_| {
            let stream = StreamId(worker::random(proxy)?);
            Worker::new(proxy, &plugin.config, stream, Arc::clone(&source)).map(Arc::new)
        };
        let workers: Option<Vec<_>> = (0..concurrency.max(1)).map(new_worker).collect();
        let workers = workers?;
        let wakers = workers.iter().map(|_| Wakers::default()).collect();
        Some(Self { users: AtomicUsize::new(1), alone_since_ms: AtomicU64::new(0), workers, wakers })
    }

    /// A configuration does not use it any more.
    pub(super) fn leave(&self) {
        self.users.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_alone(&self) -> bool {
        self.users.load(Ordering::Relaxed) == 0
    }

    /// The workers, by their index.
    pub(super) fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    fn wakers_of(&self, worker: u32) -> Option<&Wakers> {
        self.wakers.get(usize::try_from(worker).ok()?)
    }

    /// A request of a worker waits or is open. False when there is no such worker.
    pub(super) fn expect(&self, worker: u32, key: StreamKey, waker: StreamWaker) -> bool {
        let wakers = self.wakers_of(worker);
        wakers.map(|wakers| lock(wakers).insert(key, Arc::new(waker))).is_some()
    }

    /// A request is gone.
    pub(super) fn forget(&self, worker: u32, key: StreamKey) {
        let waker = self.wakers_of(worker).and_then(|wakers| lock(wakers).remove(&key));
        drop(waker);
    }

    /// A tick of the main thread.
    pub(super) fn on_tick(&self, proxy: &dyn Proxy, plugin: u64) {
        self.workers.iter().for_each(|worker| worker.on_tick(proxy, plugin));
        self.wake(plugin);
        let over: Vec<_> = alone().into_iter().filter(|home| home.deliver_rest(proxy, plugin)).collect();
        if !over.is_empty() {
            let is_over = |home: &Arc<Self>| home.is_alone() && over.iter().any(|o| Arc::ptr_eq(o, home));
            with_homes(|homes| lock(homes).retain(|(_, home)| !is_over(home)));
        }
    }

    /// An answer to a call, its own or that of a home that nobody uses.
    pub(super) fn on_answer(&self, proxy: &dyn Proxy, plugin: u64, answer: &CalloutResponse<'_>) {
        let taken = |home: &Self| home.workers.iter().any(|worker| worker.on_answer(proxy, answer));
        if !taken(self) {
            let _taken = alone().iter().any(|home| taken(home));
        }
        self.wake(plugin);
    }

    /// Delivers what waits here, though nobody uses it any more. True when that is over.
    fn deliver_rest(&self, proxy: &dyn Proxy, plugin: u64) -> bool {
        let now_ms = proxy.monotonic_ns().unwrap_or_default() / 1_000_000;
        let _ = self.alone_since_ms.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        let waiting: u64 = self.workers.iter().map(|worker| worker.deliver_rest(proxy, plugin)).sum();
        let alone_ms = now_ms.saturating_sub(self.alone_since_ms.load(Ordering::Relaxed));
        if waiting == 0 || alone_ms < GIVE_UP_MS {
            return waiting == 0;
        }
        let line = format!(
            "{waiting} audit records of a configuration that is gone could not be delivered for {} s and are given up",
            GIVE_UP_MS / 1_000
        );
        proxy.log(Severity::Critical, &line);
        if let Some(worker) = self.workers.first() {
            worker.give_up(proxy, waiting);
        }
        true
    }

    /// A call could not be sent.
    pub(super) fn on_failure(&self, proxy: &dyn Proxy, plugin: u64, call: CallId) {
        self.on_answer(proxy, plugin, &CalloutResponse { call, status: None, body: None });
    }

    /// Wakes what waits for nothing any more, and open requests that have to be looked at again.
    fn wake(&self, plugin: u64) {
        for (worker, wakers) in self.workers.iter().zip(&self.wakers) {
            for key in worker.take_ready(plugin) {
                // A request may end within the wake, and takes its waker out then: nobody may hold the lock.
                let waker = lock(wakers).get(&key).cloned();
                if let Some(waker) = waker {
                    waker.wake(0);
                }
            }
        }
    }
}
