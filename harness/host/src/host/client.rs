//! The client's side of the chain.

use super::Host;
use super::deliver::Item;
use super::traffic::DOWNSTREAM_CONNECTION_TERMINATION;
use crate::exchange::Exchange;
use crate::flow::{Dir, Link, Slot, Stream, StreamRef};
use crate::headers::HeaderMap;
use crate::message::{Elsewhere, Request};
use crate::spec::FailurePolicy;

impl Host {
    /// Sends a request and lets everything happen that is due at this moment of virtual time. A request
    /// that waits for something later (a delayed answer, a held callout) is not over yet: move on with
    /// [`advance`](Self::advance) and look at the same [`Exchange`] again.
    ///
    /// # Panics
    /// If the request is for a worker that the host does not have.
    #[track_caller]
    pub fn request(&mut self, request: Request) -> Exchange {
        let stream = self.open_stream(&request);
        let exchange = Exchange::new(&stream, &self.world);
        match request.elsewhere {
            None => self.send(&stream, &request),
            Some(Elsewhere::Filter(status)) => self.refuse_before_plugins(&stream, &request, status),
            Some(Elsewhere::Codec) => self.refuse_by_codec(&stream),
        }
        self.settle();
        exchange
    }

    fn send(&mut self, stream: &StreamRef, request: &Request) {
        let more = request.open || !request.body.is_empty() || !request.trailers.is_empty();
        let mut locked = stream.lock();
        locked.route = Some((self.router)(&request.headers));
        locked.exact = request.exact;
        let mut headers = request.headers.clone();
        if request.http2 {
            headers.join_cookies();
        }
        locked.way_mut(Dir::Request).headers = Some(headers);
        drop(locked);
        self.add_envoy_headers(stream, request.exact);
        self.deliver(stream, Dir::Request, 0, Item::Headers { end: !more });
        let ends = !request.open && request.trailers.is_empty();
        let last = request.body.len();
        for (at, part) in request.body.iter().enumerate() {
            self.feed_body(stream, part, ends && request.http2 && at + 1 == last);
        }
        if !request.trailers.is_empty() {
            self.feed_trailers(stream, request.trailers.clone());
        } else if more && ends && !request.http2 {
            self.feed_body(stream, &[], true);
        }
    }

    /// What Envoy's connection manager adds before the filters see the request.
    pub(super) fn add_envoy_headers(&self, stream: &StreamRef, exact: bool) {
        if exact {
            return;
        }
        let id = self.world.lock().random.uuid();
        let mut locked = stream.lock();
        let headers = locked.way_mut(Dir::Request).headers.get_or_insert_default();
        let scheme = headers.get(":scheme").unwrap_or("http").to_owned();
        if headers.get_bytes("x-forwarded-proto").is_none() {
            headers.add("x-forwarded-proto", scheme);
        }
        if headers.get_bytes("x-request-id").is_none() {
            headers.add("x-request-id", id);
        }
    }

    fn feed_body(&mut self, stream: &StreamRef, part: &[u8], end: bool) {
        let mut locked = stream.lock();
        let way = locked.way_mut(Dir::Request);
        way.bytes += part.len() as u64;
        way.ended |= end;
        drop(locked);
        self.deliver(stream, Dir::Request, 0, Item::Data { bytes: part.to_vec(), end });
    }

    fn feed_trailers(&mut self, stream: &StreamRef, trailers: HeaderMap) {
        let mut locked = stream.lock();
        let way = locked.way_mut(Dir::Request);
        way.trailers = Some(trailers);
        way.ended = true;
        drop(locked);
        self.deliver(stream, Dir::Request, 0, Item::Trailers);
    }

    /// Sends another part of the body of a request that [`stays open`](Request::stay_open).
    ///
    /// # Panics
    /// If the exchange is of another host.
    #[track_caller]
    pub fn send_body(&mut self, exchange: &Exchange, part: impl AsRef<[u8]>) {
        self.own(exchange);
        self.feed_body(exchange.stream(), part.as_ref(), false);
        self.settle();
    }

    /// Ends the body of a request that stays open.
    ///
    /// # Panics
    /// If the exchange is of another host.
    #[track_caller]
    pub fn end_request(&mut self, exchange: &Exchange) {
        self.own(exchange);
        self.feed_body(exchange.stream(), &[], true);
        self.settle();
    }

    /// Ends a request that stays open with trailers.
    ///
    /// # Panics
    /// If the exchange is of another host.
    #[track_caller]
    pub fn send_trailers(&mut self, exchange: &Exchange, trailers: impl Into<HeaderMap>) {
        self.own(exchange);
        self.feed_trailers(exchange.stream(), trailers.into());
        self.settle();
    }

    /// The client closes its connection before the exchange is over.
    ///
    /// # Panics
    /// If the exchange is of another host.
    #[track_caller]
    pub fn disconnect(&mut self, exchange: &Exchange) {
        self.own(exchange);
        self.reset(exchange.stream(), "downstream_remote_disconnect", DOWNSTREAM_CONNECTION_TERMINATION);
        self.settle();
    }

    #[track_caller]
    fn open_stream(&mut self, request: &Request) -> StreamRef {
        let (worker, workers) = (request.worker, self.workers.len());
        assert!(
            worker < workers,
            "there is no worker {worker}: this host has {workers} (HostBuilder::workers)"
        );
        let (now, unix) = {
            let world = self.world.lock();
            (world.clock.elapsed(), world.clock.unix_nanos())
        };
        let mut stream = Stream::new(self.world.next_id(), worker, now, unix);
        stream.properties = request.properties.clone();
        stream.generation = self.generation;
        let stream = StreamRef::new(stream);
        for plugin in 0..self.plugins.len() {
            let link = self.link(worker, plugin, &stream);
            let slot =
                Slot { plugin, link, sides: Default::default(), created: false, failed: false, death: None };
            stream.lock().slots.push(slot);
        }
        stream.lock().slots.extend(self.native_slots());
        let id = stream.lock().id;
        self.open.insert(id, stream.clone());
        stream
    }

    /// Binds a stream to a plugin on its worker, reloading a dead VM where the policy says so.
    fn link(&mut self, worker: usize, plugin: usize, stream: &StreamRef) -> Link {
        let policy = self.policy(plugin);
        self.reload_if_due(worker, plugin);
        let (spec, thread) = (&self.plugins[plugin].spec, &mut self.workers[worker]);
        let Some(handle) = &thread.handles[plugin] else { return Link::Skipped };
        let (vm, root) = (handle.vm, handle.root);
        let machine = &mut thread.vms[vm];
        if machine.is_failed() {
            return if policy == FailurePolicy::Open { Link::Skipped } else { Link::Dead };
        }
        let (id, slot) = {
            let locked = stream.lock();
            (locked.id, locked.slots.len())
        };
        let context = machine.state_mut().add_stream_context(root, spec, stream.clone(), slot, id);
        Link::Live { vm, context }
    }
}
