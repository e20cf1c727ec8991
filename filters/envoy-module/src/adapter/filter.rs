//! A request.

use std::sync::Arc;

use portcullis_engine::port::StreamKey;
use portcullis_engine::{Request, Verdict};

use super::port::StreamPort;
use super::process;
use super::shared::Shared;
use crate::abi::{BodyAction, BodyKind, FilterEvents, HeadersAction, StreamHandle, TrailersAction};

/// A request in one filter.
pub(super) struct Filter {
    shared: Arc<Shared>,
    key: StreamKey,
    /// `None` until its headers come, for only then the worker is known.
    request: Option<Request>,
    /// The worker that it runs on, and by which it may be waked.
    worker: Option<u32>,
}

impl Filter {
    /// A request that begins.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, key: StreamKey(process::number()), request: None, worker: None }
    }

    /// The request and the port of this event.
    fn parts<'a, 'p>(&'a mut self, stream: &'p StreamHandle<'p>) -> (&'a mut Request, StreamPort<'p>) {
        let (shared, key) = (&self.shared, self.key);
        let worker = *self.worker.get_or_insert_with(|| stream.worker());
        let request =
            self.request.get_or_insert_with(|| Request::new(key, shared.root.id, shared.instance(worker)));
        (request, StreamPort::new(stream, Arc::clone(shared), key))
    }

    /// Bytes of the body that Envoy holds: what it held back, and the piece that came last.
    fn body_length(stream: &StreamHandle<'_>) -> usize {
        let size = |kind| stream.read_body(kind, 0, &mut Vec::new()).unwrap_or_default();
        size(BodyKind::BufferedRequest).saturating_add(size(BodyKind::ReceivedRequest))
    }

    /// Whether nobody looks at the body of this request.
    fn ignores_body(&self) -> bool {
        self.request.as_ref().is_none_or(Request::ignores_body)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let (Some(worker), Some(home)) = (self.worker, self.shared.home()) {
            home.forget(worker, self.key);
        }
    }
}

impl FilterEvents for Filter {
    fn on_request_headers(&mut self, stream: &StreamHandle<'_>, end: bool) -> HeadersAction {
        let (request, port) = self.parts(stream);
        match request.on_request_headers(&port, end) {
            // Its body comes while it waits, so that it can be judged when the request is woken.
            Verdict::Hold if request.may_want_body() => HeadersAction::AwaitBody,
            Verdict::Hold => HeadersAction::Hold,
            Verdict::Continue => {
                port.choose_route_again();
                if request.wants_body() { HeadersAction::AwaitBody } else { HeadersAction::Continue }
            }
        }
    }

    fn on_request_body(&mut self, stream: &StreamHandle<'_>, end: bool) -> BodyAction {
        if self.ignores_body() {
            return BodyAction::Continue;
        }
        let length = Self::body_length(stream);
        let (request, port) = self.parts(stream);
        match request.on_request_body(&port, length, end) {
            Verdict::Continue => BodyAction::Continue,
            Verdict::Hold if request.wants_body() => BodyAction::Buffer,
            // Nobody has asked for it yet, so that it is long is no reason to refuse it.
            Verdict::Hold => BodyAction::Hold,
        }
    }

    fn on_request_trailers(&mut self, stream: &StreamHandle<'_>) -> TrailersAction {
        if self.ignores_body() {
            return TrailersAction::Continue;
        }
        let (request, port) = self.parts(stream);
        match request.on_request_trailers(&port) {
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
    }

    fn on_complete(&mut self, stream: &StreamHandle<'_>) {
        let (request, port) = self.parts(stream);
        request.on_end(&port);
    }
}
