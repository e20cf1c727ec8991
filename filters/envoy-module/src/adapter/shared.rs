//! What a filter configuration and its streams share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_engine::port::CallId;
use portcullis_engine::{Instance, Plugin, Root};

use super::home::{Home, lock};
use super::metrics::Metrics;
use crate::abi::CalloutId;

/// What a stream wakes the main thread for: there are calls to be sent.
pub(super) const CALLS: u32 = 1;

/// A call of a stream, to be sent by the main thread.
pub(super) struct OwnedCall {
    pub(super) id: CallId,
    pub(super) upstream: String,
    pub(super) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) timeout: Duration,
}

/// What a filter configuration and its streams share.
pub(super) struct Shared {
    /// The root id and its stages.
    pub(super) root: &'static Root,
    /// What a good configuration gives; without it everything is refused.
    pub(super) ready: Option<Ready>,
    /// Calls that streams have asked for.
    asked: Mutex<Vec<OwnedCall>>,
    /// Calls under way.
    sent: Mutex<HashMap<CalloutId, CallId>>,
    /// What is counted.
    pub(super) metrics: Metrics,
    /// The number of the plugin.
    pub(super) number: u64,
}

pub(super) struct Ready {
    home: Arc<Home>,
    /// The plugin on each worker, by its index.
    instances: Vec<Instance>,
}

impl Ready {
    /// A plugin on every worker of its home.
    pub(super) fn new(plugin: &Arc<Plugin>, number: u64, home: Arc<Home>) -> Self {
        let instance = |worker: &Arc<_>| Instance::new(Arc::clone(plugin), number, Arc::clone(worker));
        let instances = home.workers().iter().map(instance).collect();
        Self { home, instances }
    }
}

impl Shared {
    pub(super) fn new(root: &'static Root, ready: Option<Ready>, metrics: Metrics, number: u64) -> Self {
        Self { root, ready, asked: Mutex::default(), sent: Mutex::default(), metrics, number }
    }

    /// The plugin on a worker, where the configuration is good.
    pub(super) fn instance(&self, worker: u32) -> Option<Instance> {
        let instances = &self.ready.as_ref()?.instances;
        instances.get(usize::try_from(worker).ok()?).cloned()
    }

    /// What the process shares, where the configuration is good.
    pub(super) fn home(&self) -> Option<&Arc<Home>> {
        self.ready.as_ref().map(|ready| &ready.home)
    }

    /// Takes a call of a stream, to be sent by the main thread.
    pub(super) fn ask(&self, call: OwnedCall) {
        lock(&self.asked).push(call);
    }

    /// Takes out the calls that are to be sent.
    pub(super) fn take_asked(&self) -> Vec<OwnedCall> {
        std::mem::take(&mut *lock(&self.asked))
    }

    /// Takes note of a call that is under way.
    pub(super) fn sent(&self, callout: CalloutId, call: CallId) {
        lock(&self.sent).insert(callout, call);
    }

    /// The call that was answered.
    pub(super) fn answered(&self, callout: CalloutId) -> Option<CallId> {
        lock(&self.sent).remove(&callout)
    }
}
