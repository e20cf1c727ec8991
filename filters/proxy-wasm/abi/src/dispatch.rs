//! Finds the context that a callback is for.
//!
//! A context is taken out of its slot while it runs and put back afterwards. No borrow is held
//! across a call into the plugin, so a proxy that calls back in the middle of a hostcall finds a
//! missing context (and the safe answer for it), never a panic.
//!
//! The safe answer to a request is a refusal, and to an event that nobody waits for, nothing.

use std::cell::Cell;

use crate::calls::Proxy;
use crate::context::{CallResponse, HttpContext, RootContext, RootFactory};
use crate::error::HostResult;
use crate::host::{Host, LocalResponse};
use crate::slots::Slots;
use crate::types::{Action, BufferType, ContextId, LogLevel, QueueId};

/// What a request of an unknown context is answered with. It says nothing about why: it can only
/// be a fault of the proxy or of this layer, and the log has it.
const NO_CONTEXT: LocalResponse<'static> = LocalResponse {
    status: 503,
    details: "portcullis_no_context",
    headers: &[(b"content-type", b"application/problem+json"), (b"x-portcullis-reason", b"internal")],
    body: br#"{"type":"about:blank","title":"Service Unavailable","status":503,"reason":"internal"}"#,
    grpc_status: None,
};

/// The contexts of one VM.
#[derive(Default)]
pub struct Dispatcher {
    factory: Cell<Option<RootFactory>>,
    roots: Slots<dyn RootContext>,
    streams: Slots<dyn HttpContext>,
}

impl Dispatcher {
    /// A dispatcher without contexts, whose roots come from `factory`.
    #[must_use]
    pub fn new(factory: RootFactory) -> Self {
        let dispatcher = Self::default();
        dispatcher.set_factory(factory);
        dispatcher
    }

    /// Sets where roots come from.
    pub fn set_factory(&self, factory: RootFactory) {
        self.factory.set(Some(factory));
    }

    /// Number of root contexts and of streams that are alive.
    #[must_use]
    pub fn live(&self) -> (usize, usize) {
        (self.roots.len(), self.streams.len())
    }

    /// A root (`root` is 0) or a stream of a root begins.
    ///
    /// A root is built later, in [`Self::on_vm_start`] or [`Self::on_configure`], where every proxy
    /// can tell its root id.
    pub fn on_context_create(&self, host: &dyn Proxy, id: ContextId, root: ContextId) {
        if root.0 == 0 {
            return;
        }
        let made = self.roots.with(host, root, |root| {
            host.calls().enter(id);
            root.http_context(host, id)
        });
        match made {
            Some(stream) => self.streams.insert(id, stream),
            None => complain(host, "request of an unknown root context", id),
        }
    }

    /// The VM of a root starts. A root id that cannot be told yet is left to `on_configure`.
    pub fn on_vm_start(&self, host: &dyn Proxy, id: ContextId, size: usize) -> bool {
        host.calls().enter(id);
        if self.ensure_root(host, id) != Built::Yes {
            return true;
        }
        let config = whole_buffer(host, BufferType::VmConfiguration, size);
        self.roots
            .with(host, id, |root| root.on_vm_start(host, config.as_deref().map_err(|e| *e)))
            .unwrap_or(true)
    }

    /// A root gets its configuration.
    ///
    /// An unknown root id is refused: that is the same on every worker, so the first VM catches it.
    /// A root id that cannot be read is accepted, and every request refused: refusing here could
    /// make one worker skip the filter.
    pub fn on_configure(&self, host: &dyn Proxy, id: ContextId, size: usize) -> bool {
        host.calls().enter(id);
        match self.ensure_root(host, id) {
            Built::Yes => {}
            Built::Unknown => return false,
            Built::Unreadable => return true,
        }
        let config = whole_buffer(host, BufferType::PluginConfiguration, size);
        self.roots
            .with(host, id, |root| root.on_configure(host, config.as_deref().map_err(|e| *e)))
            .unwrap_or(true)
    }

    /// The tick period of a root has passed.
    pub fn on_tick(&self, host: &dyn Proxy, id: ContextId) {
        self.root_event(host, id, |root| root.on_tick(host));
    }

    /// A queue has an entry.
    pub fn on_queue_ready(&self, host: &dyn Proxy, id: ContextId, queue: QueueId) {
        self.root_event(host, id, |root| root.on_queue_ready(host, queue));
    }

    /// A call was answered. The proxy names the root, so the sender is looked up by the token; an
    /// answer whose sender is gone is dropped.
    pub fn on_http_call_response(&self, host: &dyn Proxy, response: CallResponse) {
        let Some(sender) = host.calls().answered(response.token) else {
            return;
        };
        if self.roots.contains(sender) {
            self.root_event(host, sender, |root| {
                root.on_http_call_response(host, response);
            });
        } else {
            self.as_effective(host, sender, |stream| {
                stream.on_http_call_response(host, response);
            });
        }
    }

    /// Headers from the client. A request of an unknown context is answered with 503.
    pub fn on_request_headers(&self, host: &dyn Proxy, id: ContextId, end: bool) -> Action {
        let action = self.streams.with(host, id, |stream| stream.on_request_headers(host, end));
        action.unwrap_or_else(|| {
            complain(host, "request headers of an unknown context", id);
            // Should even this fail, the request stays paused: it is not let through.
            if let Err(error) = host.send_local_response(&NO_CONTEXT) {
                host.log(LogLevel::Error, &format!("cannot refuse it: {error}"));
            }
            Action::Pause
        })
    }

    /// A part of the body from the client. That of an unknown context is held: its request was refused.
    pub fn on_request_body(&self, host: &dyn Proxy, id: ContextId, length: usize, end: bool) -> Action {
        self.streams
            .with(host, id, |stream| stream.on_request_body(host, length, end))
            .unwrap_or(Action::Pause)
    }

    /// Trailers from the client. Those of an unknown context are held: its request was refused.
    pub fn on_request_trailers(&self, host: &dyn Proxy, id: ContextId) -> Action {
        self.streams.with(host, id, |stream| stream.on_request_trailers(host)).unwrap_or(Action::Pause)
    }

    /// Headers to the client. Those of an unknown context pass: its request was refused.
    pub fn on_response_headers(&self, host: &dyn Proxy, id: ContextId, end: bool) -> Action {
        self.streams
            .with(host, id, |stream| stream.on_response_headers(host, end))
            .unwrap_or(Action::Continue)
    }

    /// A context is about to end; `false` if it wants to say itself when.
    pub fn on_done(&self, host: &dyn Proxy, id: ContextId) -> bool {
        self.streams
            .with(host, id, |stream| stream.on_done(host))
            .or_else(|| self.roots.with(host, id, |root| root.on_done(host)))
            .unwrap_or(true)
    }

    /// A request is over.
    pub fn on_log(&self, host: &dyn Proxy, id: ContextId) {
        self.streams.with(host, id, |stream| stream.on_log(host));
    }

    /// A context is gone.
    pub fn on_delete(&self, host: &dyn Proxy, id: ContextId) {
        host.calls().ended(id);
        if !self.streams.remove(id) {
            self.roots.remove(id);
        }
    }

    fn ensure_root(&self, host: &dyn Proxy, id: ContextId) -> Built {
        if self.roots.contains(id) {
            return Built::Yes;
        }
        let root_id = match host.property(&["plugin_root_id"]) {
            // A plugin without a root id has the empty one.
            Ok(root_id) => root_id.unwrap_or_default(),
            Err(error) => {
                host.log(LogLevel::Critical, &format!("no root id: {error}"));
                return Built::Unreadable;
            }
        };
        match self.factory.get().and_then(|make| make(host, &root_id)) {
            Some(mut root) => {
                root.on_create(id);
                self.roots.insert(id, root);
                Built::Yes
            }
            None => {
                let name = String::from_utf8_lossy(&root_id);
                let line = format!("unknown root id {name:?}: check the plugin's name");
                host.log(LogLevel::Critical, &line);
                Built::Unknown
            }
        }
    }

    /// Runs a callback of a root, then wakes the streams that it asks for.
    fn root_event(
        &self,
        host: &dyn Proxy,
        id: ContextId,
        event: impl FnOnce(&mut (dyn RootContext + 'static)),
    ) {
        let wakes = self.roots.with(host, id, |root| {
            event(root);
            root.take_wakes()
        });
        for stream in wakes.unwrap_or_default() {
            self.as_effective(host, stream, |stream| stream.on_wake(host));
        }
    }

    /// Runs a callback of a stream inside a callback that the proxy made for a root. The proxy
    /// itself returns to the root for its next callback.
    fn as_effective(
        &self,
        host: &dyn Proxy,
        id: ContextId,
        event: impl FnOnce(&mut (dyn HttpContext + 'static)),
    ) {
        if !self.streams.contains(id) {
            return;
        }
        match host.set_effective_context(id) {
            Ok(()) => {
                self.streams.with(host, id, event);
            }
            Err(error) => host.log(LogLevel::Error, &format!("stream {id}: {error}")),
        }
    }
}

/// Whether a root context exists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Built {
    Yes,
    Unknown,
    Unreadable,
}

fn whole_buffer(host: &dyn Host, buffer: BufferType, size: usize) -> HostResult<Vec<u8>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    host.buffer(buffer, 0, size)
}

fn complain(host: &dyn Host, what: &str, id: ContextId) {
    host.log(LogLevel::Error, &format!("{what} ({id})"));
}
