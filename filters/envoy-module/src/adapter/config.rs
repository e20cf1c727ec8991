//! A filter configuration.

use std::sync::Arc;
use std::time::Duration;

use portcullis_engine::port::{CalloutResponse, MAX_ANSWER};
use portcullis_engine::{Plugin, Root, worker};
use portcullis_roots::root;

use super::filter::Filter;
use super::metrics::Metrics;
use super::port::{MainPort, ProcessPort};
use super::process;
use super::shared::{Ready, Shared};
use crate::abi::{
    Answer, Callout, CalloutFailure, CalloutId, ConfigEvents, Counter, FilterEvents, LogLevel, MainHandle,
    Setup, log,
};

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
    let shared = Arc::new(Shared::new(root, ready, metrics, number));
    Ok(Box::new(Config { shared }))
}

fn make_ready(setup: &Setup<'_>, root: &Root, number: u64) -> Option<Ready> {
    let plugin = match Plugin::new(root, setup.config()) {
        Ok(plugin) => Arc::new(plugin),
        Err(errors) => {
            errors.iter().for_each(|error| log(LogLevel::Critical, &error.to_string()));
            return None;
        }
    };
    let home = process::home_of(&ProcessPort, &plugin, setup.concurrency())?;
    Some(Ready::new(&plugin, number, home))
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
            process::on_tick(home, &MainPort { main, shared: &self.shared }, self.shared.number);
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
                    process::on_failure(home, &port, self.shared.number, call.id);
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
        process::on_answer(home, &MainPort { main, shared: &self.shared }, self.shared.number, &answer);
    }
}
