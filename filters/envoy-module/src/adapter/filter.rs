//! A request.

use std::sync::Arc;

use portcullis_engine::port::StreamKey;
use portcullis_engine::{Request, Verdict};

use super::config::Shared;
use super::port::StreamPort;
use super::process;
use crate::abi::{BodyAction, BodyKind, FilterEvents, HeadersAction, StreamHandle, TrailersAction};

/// A request in one filter.
pub(super) struct Filter {
    shared: Arc<Shared>,
    key: StreamKey,
    /// `None` until its headers come, for only then the worker is known.
    request: Option<Request>,
    /// True once it has waited: only then somebody has to forget it.
    waited: bool,
    /// True when the end of its body is there.
    ended: bool,
}

impl Filter {
    /// A request that begins.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, key: StreamKey(process::number()), request: None, waited: false, ended: false }
    }

    /// The request and the port of this event.
    fn parts<'a, 'p>(&'a mut self, stream: &'p StreamHandle<'p>) -> (&'a mut Request, StreamPort<'p>) {
        let (shared, key) = (&self.shared, self.key);
        let request = self
            .request
            .get_or_insert_with(|| Request::new(key, shared.root.id, shared.instance(stream.worker())));
        (request, StreamPort::new(stream, Arc::clone(shared), key))
    }

    fn wants_body(&self) -> bool {
        self.request.as_ref().is_some_and(Request::wants_body)
    }

    /// The body has come so far, or to its end.
    fn look_at_body(&mut self, stream: &StreamHandle<'_>, end: bool) -> Verdict {
        self.ended = end;
        if self.request.as_ref().is_none_or(Request::passes_body) {
            return Verdict::Continue;
        }
        let size = |kind| stream.read_body(kind, 0, &mut Vec::new()).unwrap_or_default();
        let length = size(BodyKind::BufferedRequest).saturating_add(size(BodyKind::ReceivedRequest));
        let (request, port) = self.parts(stream);
        request.on_request_body(&port, length, end)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if self.waited
            && let Some(home) = self.shared.home()
        {
            home.forget(self.key);
        }
    }
}

impl FilterEvents for Filter {
    fn on_request_headers(&mut self, stream: &StreamHandle<'_>, end: bool) -> HeadersAction {
        let (request, port) = self.parts(stream);
        let action = match request.on_request_headers(&port, end) {
            // Its body comes to this filter meanwhile: a stage may want it when the request is woken.
            Verdict::Hold => HeadersAction::AwaitBody,
            Verdict::Continue => {
                port.choose_route_again();
                if request.wants_body() && !end { HeadersAction::AwaitBody } else { HeadersAction::Continue }
            }
        };
        self.waited |= port.expects_wake();
        action
    }

    fn on_request_body(&mut self, stream: &StreamHandle<'_>, end: bool) -> BodyAction {
        match self.look_at_body(stream, end) {
            Verdict::Continue => BodyAction::Continue,
            Verdict::Hold if self.wants_body() => BodyAction::Buffer,
            // It waits: what is too long for Envoy's buffer must not be refused for that.
            Verdict::Hold => BodyAction::Hold,
        }
    }

    fn on_request_trailers(&mut self, stream: &StreamHandle<'_>) -> TrailersAction {
        match self.look_at_body(stream, true) {
            Verdict::Continue => TrailersAction::Continue,
            Verdict::Hold => TrailersAction::Hold,
        }
    }

    fn on_response_headers(&mut self, stream: &StreamHandle<'_>, end: bool) -> HeadersAction {
        let (request, port) = self.parts(stream);
        match request.on_response_headers(&port, end) {
            Verdict::Continue => HeadersAction::Continue,
            Verdict::Hold => HeadersAction::Hold,
        }
    }

    fn on_wake(&mut self, stream: &StreamHandle<'_>, _event: u64) {
        let (request, port) = self.parts(stream);
        request.on_wake(&port);
        port.choose_route_again();
        if self.wants_body() && self.look_at_body(stream, self.ended) == Verdict::Continue {
            stream.resume();
        }
    }

    fn on_complete(&mut self, stream: &StreamHandle<'_>) {
        let (request, port) = self.parts(stream);
        request.on_end(&port);
    }
}
