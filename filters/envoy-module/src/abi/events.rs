//! What a module implements: one object for each configuration, one for each stream.

use std::time::Duration;

use super::answer::{Answer, CalloutFailure, CalloutId};
use super::main_thread::MainHandle;
use super::metrics::Counter;
use super::setup::Setup;
use super::stream::StreamHandle;

/// Makes the object of a configuration; an error rejects the configuration and goes into the log.
pub type ConfigFactory = fn(setup: &Setup<'_>) -> Result<Box<dyn ConfigEvents>, String>;

/// Lives as long as a filter configuration, or longer by the streams that it still has.
///
/// Workers and the main thread share it.
pub trait ConfigEvents: Send + Sync {
    /// A stream begins, on its worker.
    fn open(&self) -> Box<dyn FilterEvents>;

    /// How often [`Self::on_tick`] is wanted; asked once. Without it there are no ticks.
    fn tick_period(&self) -> Option<Duration> {
        None
    }

    /// The counter that grows with every panic of this configuration and its streams; asked once.
    fn panic_counter(&self) -> Option<Counter> {
        None
    }

    /// A tick, on the main thread. Ticks do not pile up while the main thread is busy.
    fn on_tick(&self, _main: &MainHandle<'_>) {}

    /// A stream has called [`StreamHandle::wake_main`].
    fn on_wake(&self, _main: &MainHandle<'_>, _event: u32) {}

    /// A callout of this configuration has ended, on the main thread.
    fn on_answer(
        &self,
        _main: &MainHandle<'_>,
        _callout: CalloutId,
        _answer: Result<Answer<'_>, CalloutFailure>,
    ) {
    }

    /// Envoy has let the configuration go; nothing is called afterwards. Usually on the main
    /// thread. Callouts under way are not answered any more.
    fn on_end(&self) {}
}

/// What happens to request or response headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadersAction {
    /// They go on.
    Continue,
    /// They wait, and the body still comes to this filter: until a body or trailers event answers
    /// `Continue`, or [`StreamHandle::resume`].
    AwaitBody,
    /// They wait, and so does everything behind them, until [`StreamHandle::resume`].
    Hold,
}

/// What happens to a piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyAction {
    /// It goes on, with everything that waited.
    Continue,
    /// Envoy keeps it. A body beyond its buffer limit is refused with 413 by Envoy itself.
    Buffer,
    /// Envoy keeps it, and stops reading from the client at its buffer limit.
    Hold,
}

/// What happens to trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrailersAction {
    /// They go on, with everything that waited.
    Continue,
    /// They wait until [`StreamHandle::resume`].
    Hold,
}

/// Lives as long as a stream, on one worker.
///
/// [`StreamHandle::reply`] and [`StreamHandle::resume`] take effect when the event returns; after a
/// reply the action that it answers does not matter.
pub trait FilterEvents {
    /// Request headers are here; `end` means that nothing follows.
    fn on_request_headers(&mut self, _stream: &StreamHandle<'_>, _end: bool) -> HeadersAction {
        HeadersAction::Continue
    }

    /// A piece of the request's body.
    fn on_request_body(&mut self, _stream: &StreamHandle<'_>, _end: bool) -> BodyAction {
        BodyAction::Continue
    }

    /// Request trailers.
    fn on_request_trailers(&mut self, _stream: &StreamHandle<'_>) -> TrailersAction {
        TrailersAction::Continue
    }

    /// Response headers, of an upstream or of Envoy itself; not for a reply of this filter.
    fn on_response_headers(&mut self, _stream: &StreamHandle<'_>, _end: bool) -> HeadersAction {
        HeadersAction::Continue
    }

    /// A piece of the response's body.
    fn on_response_body(&mut self, _stream: &StreamHandle<'_>, _end: bool) -> BodyAction {
        BodyAction::Continue
    }

    /// Response trailers.
    fn on_response_trailers(&mut self, _stream: &StreamHandle<'_>) -> TrailersAction {
        TrailersAction::Continue
    }

    /// A [`StreamWaker`](super::StreamWaker) of this stream was used.
    fn on_wake(&mut self, _stream: &StreamHandle<'_>, _event: u64) {}

    /// The stream is complete, however it ended. Headers and attributes can still be read.
    fn on_complete(&mut self, _stream: &StreamHandle<'_>) {}
}
