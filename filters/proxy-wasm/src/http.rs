//! The HTTP context: one per request.

use portcullis_engine::port::StreamKey;
use portcullis_engine::{Instance, Request, Verdict};
use portcullis_proxy_wasm_abi::{Action, ContextId, Host, HttpContext};

use crate::port::Port;

/// A request.
pub(crate) struct Http {
    id: ContextId,
    root: ContextId,
    request: Request,
}

impl Http {
    /// A request that begins.
    #[must_use]
    pub(crate) fn new(
        id: ContextId,
        root: ContextId,
        name: &'static str,
        instance: Option<Instance>,
    ) -> Self {
        Self { id, root, request: Request::new(StreamKey(id.0.into()), name, instance) }
    }

    fn port<'a>(&self, host: &'a dyn Host) -> Port<'a> {
        Port::of_stream(host, self.root, self.id)
    }
}

fn action(verdict: Verdict) -> Action {
    match verdict {
        Verdict::Continue => Action::Continue,
        Verdict::Hold => Action::Pause,
    }
}

impl HttpContext for Http {
    fn on_request_headers(&mut self, host: &dyn Host, end_of_stream: bool) -> Action {
        let port = self.port(host);
        action(self.request.on_request_headers(&port, end_of_stream))
    }

    fn on_request_body(&mut self, host: &dyn Host, length: usize, end_of_stream: bool) -> Action {
        if self.request.ignores_body() {
            return Action::Continue;
        }
        let port = self.port(host);
        action(self.request.on_request_body(&port, length, end_of_stream))
    }

    fn on_request_trailers(&mut self, host: &dyn Host) -> Action {
        if self.request.ignores_body() {
            return Action::Continue;
        }
        let port = self.port(host);
        action(self.request.on_request_trailers(&port))
    }

    fn on_wake(&mut self, host: &dyn Host) {
        let port = self.port(host);
        self.request.on_wake(&port);
    }

    fn on_response_headers(&mut self, host: &dyn Host, end_of_stream: bool) -> Action {
        let port = self.port(host);
        action(self.request.on_response_headers(&port, end_of_stream))
    }

    fn on_log(&mut self, host: &dyn Host) {
        let port = self.port(host);
        self.request.on_end(&port);
    }
}
