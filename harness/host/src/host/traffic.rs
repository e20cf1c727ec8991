//! The two ends of the chain, and how a stream ends.

use std::time::Duration;

use super::Host;
use super::deliver::Item;
use crate::codes::Callback;
use crate::flow::{Dir, Link, LocalReply, Reply, Seen, Stream, StreamRef};
use crate::headers::{HeaderMap, Printable};
use crate::message::{Answer, Outcome, Request};
use crate::vm::Vm;
use crate::world::{Event, unreachable};

/// Envoy's response flags, as `response.flags` shows them.
const UPSTREAM_REQUEST_TIMEOUT: u64 = 4;
const UPSTREAM_CONNECTION_FAILURE: u64 = 32;
const UPSTREAM_CONNECTION_TERMINATION: u64 = 64;
const NO_ROUTE: u64 = 256;
const DOWNSTREAM_PROTOCOL_ERROR: u64 = 262_144;
pub(super) const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 16384;

impl Host {
    /// The request leaves the chain.
    pub(crate) fn leave_upstream(&mut self, stream: &StreamRef, item: Item) {
        let mut locked = stream.lock();
        let end = match item {
            Item::Headers { end } => {
                let headers = locked.way(Dir::Request).headers.clone().unwrap_or_default();
                let refusal = self.refusal(&mut locked, &headers);
                if let Some(refusal) = refusal {
                    drop(locked);
                    return self.local_reply(stream, refusal);
                }
                locked.upstream = Some(Seen { headers, ..Seen::default() });
                end
            }
            Item::Data { bytes, end } => {
                if let Some(seen) = locked.upstream.as_mut().filter(|_| !bytes.is_empty()) {
                    seen.body.push(bytes);
                }
                end
            }
            Item::Trailers => {
                let trailers = locked.way(Dir::Request).trailers.clone().unwrap_or_default();
                if let Some(seen) = locked.upstream.as_mut() {
                    seen.trailers = trailers;
                }
                true
            }
        };
        if !end {
            return;
        }
        // A filter may have given a body's end its trailers.
        let trailers = locked.way(Dir::Request).trailers.clone();
        if let (Some(seen), Some(trailers)) = (locked.upstream.as_mut(), trailers) {
            seen.trailers = trailers;
        }
        drop(locked);
        self.ask_upstream(stream);
    }

    /// Why the router does not let a request go upstream.
    fn refusal(&self, stream: &mut Stream, headers: &HeaderMap) -> Option<Reply> {
        if stream.route.is_none() {
            // Envoy finds no route for a request whose x-forwarded-proto a filter removed.
            let routable = stream.exact || headers.get_bytes("x-forwarded-proto").is_some();
            stream.route = Some(if routable { (self.router)(headers) } else { None });
        }
        if stream.route.as_ref().is_some_and(Option::is_none) {
            return Some(Reply::host(404, "route_not_found", "", NO_ROUTE));
        }
        let invalid =
            |(_, value): &(&[u8], &[u8])| value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
        let (name, _) = headers.iter().find(invalid)?;
        let body = format!("invalid header value for: {}", Printable(name));
        Some(Reply::host(503, "", &body, 0))
    }

    fn ask_upstream(&mut self, stream: &StreamRef) {
        let mut locked = stream.lock();
        let Some(seen) = locked.upstream.as_mut() else { return };
        seen.complete = true;
        let request = Request {
            headers: seen.headers.clone(),
            body: seen.body.clone(),
            trailers: seen.trailers.clone(),
            ..Request::default()
        };
        let cluster = locked.route.clone().flatten().unwrap_or_default();
        let answer = match self.upstreams.get_mut(&cluster) {
            Some(upstream) => upstream.next_answer(&request),
            None => Some(Answer::refused()),
        };
        match answer {
            None => locked.waiting = true,
            Some(answer) => {
                let id = locked.id;
                drop(locked);
                self.schedule_upstream(id, answer);
            }
        }
    }

    fn schedule_upstream(&self, stream: u64, answer: Answer) {
        if answer.outcome == Outcome::Never || self.route_timeout.is_some_and(|most| answer.delay >= most) {
            return self.schedule_time_out(stream, Duration::ZERO);
        }
        let delay = answer.delay;
        let event = Event::UpstreamAnswer { stream, answer: Box::new(answer) };
        self.world.lock().clock.schedule(delay, event);
    }

    /// The route's time-out, of which so much is over already.
    fn schedule_time_out(&self, stream: u64, over: Duration) {
        let Some(after) = self.route_timeout.map(|most| most.saturating_sub(over)) else { return };
        let event = Event::UpstreamAnswer { stream, answer: Box::new(Answer::never()) };
        self.world.lock().clock.schedule(after, event);
    }

    /// The upstream's answer enters the chain.
    pub(super) fn upstream_answered(&mut self, stream: &StreamRef, answer: Answer) {
        match answer.outcome {
            Outcome::Answered | Outcome::Cut | Outcome::Stalled => self.respond_with(stream, answer),
            Outcome::Never => {
                const DETAILS: &str = "response_timeout";
                let begun = stream.lock().way(Dir::Response).headers.is_some();
                if begun {
                    return self.reset(stream, DETAILS, UPSTREAM_REQUEST_TIMEOUT);
                }
                let body = "upstream request timeout";
                self.local_reply(stream, Reply::host(504, DETAILS, body, UPSTREAM_REQUEST_TIMEOUT));
            }
            Outcome::Reset => {
                let details = "upstream_reset_before_response_started{connection_termination}";
                let body = unreachable("connection termination").body_text();
                self.local_reply(stream, Reply::host(503, details, &body, UPSTREAM_CONNECTION_TERMINATION));
            }
            Outcome::Refused => {
                // Nobody saw the request.
                stream.lock().upstream = None;
                let details = "upstream_reset_before_response_started{remote_connection_failure|\
                               delayed_connect_error:_Connection_refused}";
                let body = unreachable("remote connection failure").body_text();
                self.local_reply(stream, Reply::host(503, details, &body, UPSTREAM_CONNECTION_FAILURE));
            }
        }
    }

    fn respond_with(&mut self, stream: &StreamRef, answer: Answer) {
        let mut locked = stream.lock();
        if locked.is_over() || locked.way(Dir::Response).headers.is_some() {
            return;
        }
        locked.details.get_or_insert_with(|| "via_upstream".to_owned());
        let head =
            locked.way(Dir::Request).headers.as_ref().and_then(|map| map.get(":method")) == Some("HEAD");
        let way = locked.way_mut(Dir::Response);
        way.headers = Some(answer.headers);
        let body = if head { Vec::new() } else { answer.body };
        let trailers = !answer.trailers.is_empty() && !head;
        drop(locked);
        let ends = answer.outcome == Outcome::Answered;
        let more = !body.is_empty();
        self.deliver(stream, Dir::Response, 0, Item::Headers { end: !more && !trailers && ends });
        for bytes in body {
            self.deliver(stream, Dir::Response, 0, Item::Data { bytes, end: false });
        }
        if answer.outcome == Outcome::Stalled {
            self.schedule_time_out(stream.lock().id, answer.delay);
        } else if !ends {
            let details = "upstream_reset_after_response_started{connection_termination}";
            self.reset(stream, details, UPSTREAM_CONNECTION_TERMINATION);
        } else if !trailers && more {
            self.deliver(stream, Dir::Response, 0, Item::Data { bytes: Vec::new(), end: true });
        } else if trailers {
            stream.lock().way_mut(Dir::Response).trailers = Some(answer.trailers);
            self.deliver(stream, Dir::Response, 0, Item::Trailers);
        }
    }

    /// The response leaves the chain.
    pub(crate) fn leave_downstream(&mut self, stream: &StreamRef, item: Item) {
        let mut locked = stream.lock();
        let end = match item {
            Item::Headers { end } => {
                let headers = locked.way(Dir::Response).headers.clone().unwrap_or_default();
                locked.downstream = Some(Seen { headers, ..Seen::default() });
                end
            }
            Item::Data { bytes, end } => {
                locked.way_mut(Dir::Response).bytes += bytes.len() as u64;
                if let Some(seen) = locked.downstream.as_mut().filter(|_| !bytes.is_empty()) {
                    seen.body.push(bytes);
                }
                end
            }
            Item::Trailers => true,
        };
        if !end {
            return;
        }
        let trailers = locked.way(Dir::Response).trailers.clone();
        if let Some(seen) = locked.downstream.as_mut() {
            seen.trailers = trailers.unwrap_or_default();
            seen.complete = true;
        }
        drop(locked);
        self.finish(stream);
    }

    /// Answers without the upstream. Once the response has begun there is nothing left but a reset.
    pub(crate) fn local_reply(&mut self, stream: &StreamRef, reply: Reply) {
        let mut locked = stream.lock();
        if locked.is_over() {
            return;
        }
        let details = reply.details.clone();
        if locked.downstream.is_some() {
            drop(locked);
            return self.reset(stream, &details, reply.flags);
        }
        let status = u16::try_from(reply.status).unwrap_or(u16::MAX);
        locked.details = (!details.is_empty()).then(|| details.clone());
        locked.flags |= reply.flags;
        locked.local_reply = Some(LocalReply { status, details, plugin: reply.plugin });
        let request = locked.way(Dir::Request).headers.clone().unwrap_or_default();
        let (headers, body) = reply.render(&request);
        let begun = locked.way(Dir::Response).headers.is_some();
        let way = locked.way_mut(Dir::Response);
        way.headers = Some(headers);
        drop(locked);
        let end = body.is_empty();
        let parts = std::iter::once(Item::Headers { end })
            .chain((!end).then_some(Item::Data { bytes: body, end: true }));
        for item in parts {
            // A response that filters have begun to see is replaced behind their backs.
            if begun {
                self.leave_downstream(stream, item)
            } else {
                self.deliver(stream, Dir::Response, 0, item)
            }
        }
    }

    /// The stream ends without a (whole) response.
    pub(crate) fn reset(&mut self, stream: &StreamRef, details: &str, flags: u64) {
        let mut locked = stream.lock();
        if locked.is_over() {
            return;
        }
        locked.reset = Some(details.to_owned());
        locked.details = Some(details.to_owned());
        locked.flags |= flags;
        drop(locked);
        self.finish(stream);
    }

    pub(super) fn refuse_before_plugins(&mut self, stream: &StreamRef, request: &Request, status: u16) {
        let mut locked = stream.lock();
        locked.way_mut(Dir::Request).headers = Some(request.headers.clone());
        let headers = HeaderMap::from([(":status", status.to_string())]);
        locked.way_mut(Dir::Response).headers = Some(headers.clone());
        locked.downstream = Some(Seen { headers, complete: true, ..Seen::default() });
        drop(locked);
        self.add_envoy_headers(stream, request.exact);
        self.finish(stream);
    }

    /// There is no request that a filter could be shown.
    pub(super) fn refuse_by_codec(&mut self, stream: &StreamRef) {
        let details = "http1.codec_error";
        let (headers, body) = Reply::host(400, details, "Bad Request", 0).render(&HeaderMap::new());
        let mut locked = stream.lock();
        locked.details = Some(details.to_owned());
        locked.flags |= DOWNSTREAM_PROTOCOL_ERROR;
        locked.local_reply = Some(LocalReply { status: 400, details: details.to_owned(), plugin: None });
        let way = locked.way_mut(Dir::Response);
        way.headers = Some(headers.clone());
        way.bytes = body.len() as u64;
        locked.downstream = Some(Seen { headers, body: vec![body], complete: true, ..Seen::default() });
        drop(locked);
        self.finish(stream);
    }

    /// The stream is over: every filter logs, then every filter's context ends.
    fn finish(&mut self, stream: &StreamRef) {
        let now = self.elapsed();
        let (id, worker, slots) = {
            let mut locked = stream.lock();
            if locked.finished.replace(now).is_some() {
                return;
            }
            (locked.id, locked.worker, locked.slots.len())
        };
        for slot in 0..slots {
            self.create(stream, slot);
            self.complete_native(stream, slot);
            let Link::Live { vm, context } = stream.lock().slots[slot].link else { continue };
            log(self.vm_mut(worker, vm), context);
            self.act(worker, vm);
        }
        for slot in 0..slots {
            self.close_native(id, slot);
            let Link::Live { vm, context } = stream.lock().slots[slot].link else { continue };
            let machine = self.vm_mut(worker, vm);
            if let Some(function) = machine.exports().done.clone() {
                machine.call(Callback::Done, context, &function, (context.cast_signed(),));
            }
            machine.delete_stream_context(context);
            self.act(worker, vm);
        }
        self.open.remove(&id);
    }

    pub(crate) fn finish_done(&mut self, worker: usize, vm: usize) {
        self.vm_mut(worker, vm).finish_done();
    }

    /// Answers, as the routed upstream, a request that waits for it ([`Upstream::manual`]).
    ///
    /// [`Upstream::manual`]: crate::Upstream::manual
    ///
    /// # Panics
    /// If the exchange is of another host, or the request does not wait for its upstream.
    #[track_caller]
    pub fn respond(&mut self, exchange: &crate::Exchange, answer: Answer) {
        self.own(exchange);
        let (waiting, id) = {
            let mut locked = exchange.stream().lock();
            (std::mem::take(&mut locked.waiting), locked.id)
        };
        assert!(waiting, "the request does not wait for its upstream:\n{exchange}");
        self.schedule_upstream(id, answer);
        self.settle();
    }
}

fn log(vm: &mut Vm, context: u32) {
    let Some(function) = vm.exports().log.clone() else { return };
    vm.state_mut().set_logging(context, true);
    vm.call(Callback::Log, context, &function, (context.cast_signed(),));
    vm.state_mut().set_logging(context, false);
}

impl Vm {
    fn delete_stream_context(&mut self, context: u32) {
        if let Some(function) = self.exports().delete.clone() {
            self.call(Callback::Delete, context, &function, (context.cast_signed(),));
        }
        self.state_mut().contexts.remove(&context);
    }

    /// Ends the root contexts that called `proxy_done`.
    pub(crate) fn finish_done(&mut self) {
        for root in std::mem::take(&mut self.state_mut().finished) {
            self.delete_context(root);
        }
    }
}
