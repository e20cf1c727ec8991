//! What a plugin implements: one root context per plugin configuration and VM, one HTTP context
//! per request.

use crate::error::HostResult;
use crate::host::Host;
use crate::types::{Action, CallToken, ContextId, QueueId};

/// Makes the root context for a root id (`WasmPlugin.pluginName`); `None` if there is none of that
/// name, which rejects the configuration.
pub type RootFactory = fn(host: &dyn Host, root_id: &[u8]) -> Option<Box<dyn RootContext>>;

/// The answer to an [`HttpCall`](crate::HttpCall). Headers, body and trailers can be read from the
/// host during the callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallResponse {
    /// The call that is answered.
    pub token: CallToken,
    /// Number of headers. Zero: the connection was reset. A time-out comes as status 504.
    pub headers: usize,
    /// Bytes of body.
    pub body: usize,
    /// Number of trailers.
    pub trailers: usize,
}

/// Lives as long as a plugin configuration in one VM: workers have one each, the main thread too.
pub trait RootContext {
    /// The context was made; its id is what [`Host::set_effective_context`] takes.
    fn on_create(&mut self, _id: ContextId) {}

    /// The VM starts. `config` is `vmConfig.configuration`, or why it cannot be read. `false`
    /// fails the VM.
    fn on_vm_start(&mut self, _host: &dyn Host, _config: HostResult<&[u8]>) -> bool {
        true
    }

    /// The plugin is configured. `config` is `pluginConfig`, or why it cannot be read. `false`
    /// rejects the configuration; it must depend on `config` alone, because a worker that fails
    /// where others did not is *skipped* by Envoy: its requests pass unguarded.
    fn on_configure(&mut self, host: &dyn Host, config: HostResult<&[u8]>) -> bool;

    /// A request begins.
    fn http_context(&mut self, host: &dyn Host, id: ContextId) -> Box<dyn HttpContext>;

    /// The tick period has passed.
    fn on_tick(&mut self, _host: &dyn Host) {}

    /// Something was appended to a queue that this VM registered last. Notifications can be lost.
    fn on_queue_ready(&mut self, _host: &dyn Host, _queue: QueueId) {}

    /// A call that this context made was answered.
    fn on_http_call_response(&mut self, _host: &dyn Host, _response: CallResponse) {}

    /// Streams of this root to be woken ([`HttpContext::on_wake`]). Asked for after each `on_tick`,
    /// `on_queue_ready` and `on_http_call_response`. Streams that are gone are passed over.
    fn take_wakes(&mut self) -> Vec<ContextId> {
        Vec::new()
    }

    /// The context is about to end. `false` delays that until [`Host::done`] is called.
    fn on_done(&mut self, _host: &dyn Host) -> bool {
        true
    }
}

/// Lives as long as one request. Dropped in `on_delete`.
pub trait HttpContext {
    /// Headers from the client. `end_of_stream`: no body follows.
    fn on_request_headers(&mut self, host: &dyn Host, end_of_stream: bool) -> Action;

    /// A part of the body from the client; `length` bytes of it can be read. One that is held is shown again
    /// with the next part.
    fn on_request_body(&mut self, _host: &dyn Host, _length: usize, _end_of_stream: bool) -> Action {
        Action::Continue
    }

    /// Trailers from the client: no more of the body follows.
    fn on_request_trailers(&mut self, _host: &dyn Host) -> Action {
        Action::Continue
    }

    /// Headers to the client. `end_of_stream`: no body follows.
    fn on_response_headers(&mut self, _host: &dyn Host, _end_of_stream: bool) -> Action {
        Action::Continue
    }

    /// A call that this context made was answered. Calls of a stream that ended never are.
    fn on_http_call_response(&mut self, _host: &dyn Host, _response: CallResponse) {}

    /// The root context asked for this stream ([`RootContext::take_wakes`]), which is now the
    /// effective context: decide again, then resume or answer.
    fn on_wake(&mut self, _host: &dyn Host) {}

    /// The stream is about to end. `false` delays that until [`Host::done`] is called.
    fn on_done(&mut self, _host: &dyn Host) -> bool {
        true
    }

    /// The request is over; headers and properties can be read once more. Comes exactly once, also
    /// for requests that another filter refused before any other callback of this context.
    fn on_log(&mut self, _host: &dyn Host) {}
}
