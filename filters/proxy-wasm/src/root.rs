//! The root context: one per plugin configuration and VM.

use std::sync::Arc;

use portcullis_engine::port::{CallId, CalloutResponse, MAX_ANSWER};
use portcullis_engine::source::SourceKey;
use portcullis_engine::{Instance, Plugin, PolicySource, Root, Worker, worker};
use portcullis_protocol::audit::StreamId;
use portcullis_proxy_wasm_abi::{
    BufferType, CallResponse, ContextId, Host, HostResult, HttpContext, LogLevel, MapType, RootContext,
};
use portcullis_roots::root;

use crate::http::Http;
use crate::port::Port;
use crate::vm;

/// A root context.
struct Context {
    root: &'static Root,
    number: u64,
    id: ContextId,
    /// `None` until configured, and for good when the configuration is bad: everything is refused then.
    instance: Option<Instance>,
}

/// Makes the root context of a root id.
#[must_use]
pub fn new_root(_host: &dyn Host, root_id: &[u8]) -> Option<Box<dyn RootContext>> {
    new_root_of(root(root_id))
}

/// The same for a root of one's own; `None` when there is none of that name.
#[must_use]
pub fn new_root_of(root: Option<&'static Root>) -> Option<Box<dyn RootContext>> {
    let root = root?;
    Some(Box::new(Context { root, number: vm::next_plugin(), id: ContextId(0), instance: None }))
}

impl Context {
    fn configure(&self, host: &dyn Host, json: HostResult<&[u8]>) -> Option<Instance> {
        let critical = |line: &str| host.log(LogLevel::Critical, line);
        let json = json.map_err(|e| critical(&format!("pluginConfig: {e}"))).ok()?;
        let plugin = match Plugin::new(self.root, json) {
            Ok(plugin) => plugin,
            Err(errors) => {
                errors.iter().for_each(|error| critical(&error.to_string()));
                return None;
            }
        };
        let proxy = Port::of_root(host);
        let worker = vm::worker(&SourceKey::of(&plugin.config), || {
            let stream = StreamId(worker::random(&proxy)?);
            let source = PolicySource::new(&proxy, &plugin.config, &stream.0)?;
            Worker::new(&proxy, &plugin.config, stream, Arc::new(source))
        })?;
        worker.compare_limits(&proxy, &plugin.config);
        Some(Instance::new(Arc::new(plugin), self.number, worker))
    }
}

impl RootContext for Context {
    fn on_create(&mut self, id: ContextId) {
        self.id = id;
    }

    /// Always answers true: a worker whose configuration fails where the canary's did not would be
    /// skipped by Envoy, and its requests would pass unguarded. A bad configuration refuses everything.
    fn on_configure(&mut self, host: &dyn Host, config: HostResult<&[u8]>) -> bool {
        self.instance = self.configure(host, config);
        if self.instance.is_none() {
            let line = format!("portcullis {}: not configured, every request is refused", self.root.id);
            host.log(LogLevel::Critical, &line);
        }
        if let Err(error) = host.set_tick_period(worker::TICK) {
            host.log(LogLevel::Critical, &format!("no timer, no snapshot will arrive: {error}"));
        }
        true
    }

    fn http_context(&mut self, _host: &dyn Host, id: ContextId) -> Box<dyn HttpContext> {
        Box::new(Http::new(id, self.id, self.root.id, self.instance.clone()))
    }

    fn on_tick(&mut self, host: &dyn Host) {
        if let Some(instance) = &self.instance {
            instance.worker.on_tick(&Port::of_root(host), self.number);
        }
    }

    fn on_http_call_response(&mut self, host: &dyn Host, response: CallResponse) {
        let Some(instance) = &self.instance else { return };
        let body = body(host, response);
        let answer = CalloutResponse {
            call: CallId(response.token.0.into()),
            status: status(host, response),
            body: body.as_deref(),
        };
        instance.worker.on_answer(&Port::of_root(host), &answer);
    }

    fn take_wakes(&mut self) -> Vec<ContextId> {
        let Some(instance) = &self.instance else { return Vec::new() };
        let ready = instance.worker.take_ready(self.number);
        ready.into_iter().filter_map(|key| u32::try_from(key.0).ok()).map(ContextId).collect()
    }
}

/// The status of an answer; none when there was no answer.
fn status(host: &dyn Host, response: CallResponse) -> Option<u16> {
    if response.headers == 0 {
        return None;
    }
    let value = host.header(MapType::HttpCallResponseHeaders, ":status").ok().flatten()?;
    std::str::from_utf8(&value).ok()?.parse().ok()
}

/// The body of an answer, unless it is too long.
fn body(host: &dyn Host, response: CallResponse) -> Option<Vec<u8>> {
    if response.body > MAX_ANSWER {
        return None;
    }
    host.buffer(BufferType::HttpCallResponseBody, 0, response.body).ok()
}
