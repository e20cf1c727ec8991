//! Who polls, writes and delivers while replicas are killed, and what must be there in the end.

mod found;
mod poller;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::common::{Access, Server};
pub(crate) use found::Found;
pub(crate) use poller::{Poller, rollout};
pub(crate) use writer::{Delivered, Writer};

/// How many there are.
pub(crate) const REPLICAS: usize = 3;

/// Where the replicas are at the moment, and whether it goes on.
pub(crate) struct World {
    replicas: RwLock<Vec<Access>>,
    stopped: AtomicBool,
}

impl World {
    pub(crate) fn new(replicas: impl Iterator<Item = Access>) -> Self {
        Self { replicas: RwLock::new(replicas.collect()), stopped: AtomicBool::new(false) }
    }

    /// A replica listens somewhere else now.
    pub(crate) fn moved(&self, which: usize, to: Access) {
        self.replicas.write().unwrap()[which] = to;
    }

    /// A replica, counted on and on.
    fn replica(&self, n: usize) -> Access {
        let replicas = self.replicas.read().unwrap();
        replicas[n % replicas.len()].clone()
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Acquire)
    }

    /// Whether every filter polls with a revision.
    async fn is_everywhere(&self, server: &Server, revision: u64) -> bool {
        let proxies = server.expect(200, reqwest::Method::GET, "/v1/proxies", None).await;
        let workers = proxies["workers"].as_array().unwrap();
        workers.iter().all(|worker| worker["revision"].as_u64().unwrap() >= revision)
    }

    /// Filters that poll another replica each time.
    pub(crate) fn poll(self: &Arc<Self>, count: usize, server: &Server) -> JoinSet<Poller> {
        let new = |n| Poller::new(server, n).change_replicas(Arc::clone(self));
        (0..count).map(new).collect()
    }

    /// Administrators and clusters that call another replica each time.
    pub(crate) fn write(self: &Arc<Self>, count: usize) -> JoinSet<Writer> {
        (0..count).map(|n| Writer::new(n).work(Arc::clone(self))).collect()
    }

    /// Filters that deliver audit records.
    pub(crate) fn deliver(self: &Arc<Self>, count: u8) -> JoinSet<Delivered> {
        (0..count).map(|n| Delivered::new(n).work(Arc::clone(self))).collect()
    }
}

/// Between two calls of one caller, and before a call that failed is tried at another replica.
const PAUSE: Duration = Duration::from_millis(30);
