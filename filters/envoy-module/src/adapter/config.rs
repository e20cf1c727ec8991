//! A filter configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_engine::port::{CallId, CalloutResponse, MAX_ANSWER};
use portcullis_engine::{Instance, Plugin, Root, worker};
use portcullis_roots::root;

use super::filter::Filter;
use super::metrics::Metrics;
use super::port::{MainPort, OwnedCall, ProcessPort};
use super::process::{self, Home, lock};
use crate::abi::{
    Answer, Callout, CalloutFailure, CalloutId, ConfigEvents, Counter, FilterEvents, LogLevel, MainHandle,
    Setup, log,
};

/// What a stream wakes the main thread for: there are calls to be sent.
pub(super) const CALLS: u32 = 1;

/// What a filter configuration and its streams share.
pub(super) struct Shared {
    /// The root id and its stages.
    pub(super) root: &'static Root,
    /// What a good configuration gives; without it everything is refused.
    ready: Option<Ready>,
    /// Calls that streams have asked for.
    asked: Mutex<Vec<OwnedCall>>,
    /// Calls under way.
    sent: Mutex<HashMap<CalloutId, CallId>>,
    /// What is counted.
    pub(super) metrics: Metrics,
    /// The number of the plugin.
    number: u64,
}

struct Ready {
    home: Arc<Home>,
    /// The plugin on each worker, by its index.
    instances: Vec<Instance>,
}

impl Shared {
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

    fn take_asked(&self) -> Vec<OwnedCall> {
        std::mem::take(&mut *lock(&self.asked))
    }

    /// Takes note of a call that is under way.
    pub(super) fn sent(&self, callout: CalloutId, call: CallId) {
        lock(&self.sent).insert(callout, call);
    }

    fn answered(&self, callout: CalloutId) -> Option<CallId> {
        lock(&self.sent).remove(&callout)
    }
}

struct Config {
    shared: Arc<Shared>,
}

/// Makes a filter configuration. A root id that there is not rejects it; a bad `pluginConfig` does not, but
/// refuses every request, as the Wasm module does.
///
/// # Errors
/// When there is no such root id.
pub fn new_config(setup: &Setup<'_>) -> Result<Box<dyn ConfigEvents>, String> {
    new_config_of(setup, root(setup.name()))
}

/// The same with a root of one's own; `None` when there is none of that name.
///
/// # Errors
/// When there is no such root id.
pub fn new_config_of(
    setup: &Setup<'_>,
    root: Option<&'static Root>,
) -> Result<Box<dyn ConfigEvents>, String> {
    let name = String::from_utf8_lossy(setup.name());
    let root = root.ok_or_else(|| format!("there is no filter {name:?}"))?;
    let number = process::number();
    let ready = make_ready(setup, root, number);
    if ready.is_none() {
        let line = format!("portcullis {}: not configured, every request is refused", root.id);
        log(LogLevel::Critical, &line);
    }
    let metrics = Metrics::define(setup);
    let shared = Shared { root, ready, asked: Mutex::default(), sent: Mutex::default(), metrics, number };
    Ok(Box::new(Config { shared: Arc::new(shared) }))
}

fn make_ready(setup: &Setup<'_>, root: &Root, number: u64) -> Option<Ready> {
    let plugin = match Plugin::new(root, setup.config()) {
        Ok(plugin) => Arc::new(plugin),
        Err(errors) => {
            errors.iter().for_each(|error| log(LogLevel::Critical, &error.to_string()));
            return None;
        }
    };
    let home = Home::of(&ProcessPort, &plugin, setup.concurrency())?;
    let instance = |worker: &Arc<_>| Instance::new(Arc::clone(&plugin), number, Arc::clone(worker));
    let instances = home.workers().iter().map(instance).collect();
    Some(Ready { home, instances })
}

impl ConfigEvents for Config {
    fn open(&self) -> Box<dyn FilterEvents> {
        Box::new(Filter::new(Arc::clone(&self.shared)))
    }

    fn on_end(&self) {
        if let Some(home) = self.shared.home() {
            home.leave();
        }
    }

    fn tick_period(&self) -> Option<Duration> {
        self.shared.ready.as_ref().map(|_| worker::TICK)
    }

    fn panic_counter(&self) -> Option<Counter> {
        self.shared.metrics.panics()
    }

    fn on_tick(&self, main: &MainHandle<'_>) {
        if let Some(home) = self.shared.home() {
            home.on_tick(&MainPort { main, shared: &self.shared }, self.shared.number);
        }
    }

    fn on_wake(&self, main: &MainHandle<'_>, _event: u32) {
        let Some(home) = self.shared.home() else { return };
        for call in self.shared.take_asked() {
            let headers: Vec<(&[u8], &[u8])> = call.headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
            let callout = Callout {
                cluster: &call.upstream,
                headers: &headers,
                body: &call.body,
                timeout: call.timeout,
            };
            match main.callout(&callout) {
                Ok(callout) => self.shared.sent(callout, call.id),
                Err(error) => {
                    log(LogLevel::Error, &format!("cannot call {}: {error}", call.upstream));
                    let port = MainPort { main, shared: &self.shared };
                    home.on_failure(&port, self.shared.number, call.id);
                }
            }
        }
    }

    fn on_answer(
        &self,
        main: &MainHandle<'_>,
        callout: CalloutId,
        answer: Result<Answer<'_>, CalloutFailure>,
    ) {
        let (Some(home), Some(call)) = (self.shared.home(), self.shared.answered(callout)) else { return };
        let (status, body) = match &answer {
            Ok(answer) => (answer.status(), (answer.body_size() <= MAX_ANSWER).then(|| answer.body())),
            Err(_) => (None, None),
        };
        let answer = CalloutResponse { call, status, body: body.as_deref() };
        home.on_answer(&MainPort { main, shared: &self.shared }, self.shared.number, &answer);
    }
}
