//! What the filters of one process share that decide by the same source.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_engine::port::{Proxy, Severity, StreamKey};
use portcullis_engine::source::SourceKey;
use portcullis_engine::{Plugin, PolicySource, Worker, worker};
use portcullis_protocol::audit::StreamId;

use crate::abi::StreamWaker;

/// For so long records of configurations that are gone are tried to be delivered, in milliseconds.
const GIVE_UP_MS: u64 = 600_000;

/// One home for each source.
pub(crate) type Homes = Mutex<Vec<(SourceKey, Arc<Home>)>>;

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

/// By the request. A waker stays until its request is gone: one that was taken out for a wake could be missed by
/// the next.
type Wakers = Mutex<HashMap<StreamKey, Arc<StreamWaker>>>;

impl Home {
    /// A home with one user.
    pub(super) fn new(proxy: &dyn Proxy, plugin: &Plugin, concurrency: u32) -> Option<Self> {
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

    /// One more configuration uses it.
    pub(super) fn join(&self, proxy: &dyn Proxy, plugin: &Plugin) {
        self.users.fetch_add(1, Ordering::Relaxed);
        self.alone_since_ms.store(0, Ordering::Relaxed);
        if let Some(worker) = self.workers.first() {
            worker.compare_limits(proxy, &plugin.config);
        }
    }

    /// A configuration does not use it any more.
    pub(super) fn leave(&self) {
        self.users.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether no configuration uses it.
    pub(super) fn is_alone(&self) -> bool {
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

    /// Delivers what waits here, though nobody uses it any more. True when that is over.
    pub(super) fn deliver_rest(&self, proxy: &dyn Proxy, plugin: u64) -> bool {
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

    /// Wakes what waits for nothing any more, and open requests that have to be looked at again.
    pub(super) fn wake(&self, plugin: u64) {
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
