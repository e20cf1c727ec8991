//! Filter by filter: what each one is shown, what it holds, and what goes on.

use std::collections::VecDeque;

use super::Host;
use super::call::{
    CONTINUE, Called, DATA_NO_BUFFER, DATA_WATERMARK, HEADERS_AWAIT, HEADERS_STOP_AND_BUFFER,
    HEADERS_UNSUPPORTED, STOP,
};
use crate::codes::Callback;
use crate::flow::{Dir, Link, Reply, Side, Stop, Stream, StreamRef};
use crate::state::Action;

/// A piece of a request or response on its way.
#[derive(Debug)]
pub(crate) enum Item {
    Headers { end: bool },
    Data { bytes: Vec<u8>, end: bool },
    Trailers,
}

impl Host {
    /// Moves an item along from a position of the way.
    pub(crate) fn deliver(&mut self, stream: &StreamRef, dir: Dir, position: usize, item: Item) {
        let slots = {
            let stream = stream.lock();
            if stream.is_over() || overtaken(&stream, dir) {
                return;
            }
            stream.slots.len()
        };
        if position >= slots {
            return match dir {
                Dir::Request => self.leave_upstream(stream, item),
                Dir::Response => self.leave_downstream(stream, item),
            };
        }
        let slot = dir.slot(position, slots);
        for item in self.offer(stream, dir, slot, item) {
            self.deliver(stream, dir, position + 1, item);
        }
    }

    /// Shows an item to a filter; what comes back goes on to the next one.
    fn offer(&mut self, stream: &StreamRef, dir: Dir, slot: usize, item: Item) -> Vec<Item> {
        if !matches!(item, Item::Headers { .. }) {
            let limit = self.world.limits.buffer_bytes;
            let mut locked = stream.lock();
            let side = locked.side_mut(dir, slot);
            if let Stop::Headers { bounded, .. } = side.stop {
                let over = hold(side, item, limit);
                locked.backpressure |= over && !bounded;
                drop(locked);
                if over && bounded {
                    self.body_too_large(stream, dir);
                }
                return Vec::new();
            }
        }
        match item {
            Item::Headers { end } => self.offer_headers(stream, dir, slot, end),
            Item::Data { bytes, end } => self.offer_data(stream, dir, slot, bytes, end),
            Item::Trailers => self.offer_trailers(stream, dir, slot),
        }
    }

    fn offer_headers(&mut self, stream: &StreamRef, dir: Dir, slot: usize, end: bool) -> Vec<Item> {
        if dir == Dir::Request {
            self.create(stream, slot);
        }
        let callback = [Callback::RequestHeaders, Callback::ResponseHeaders][dir.index()];
        let called = self.call_filter(stream, dir, slot, callback, end);
        let action = match called {
            Called::Not | Called::Returned(CONTINUE | HEADERS_UNSUPPORTED) => {
                return vec![Item::Headers { end }];
            }
            Called::Failed => {
                self.fail_stream(stream, slot);
                STOP
            }
            Called::Returned(action) => action,
        };
        let mut locked = stream.lock();
        if locked.is_over() {
            return Vec::new();
        }
        locked.side_mut(dir, slot).stop = match action {
            HEADERS_AWAIT => Stop::Await { end },
            _ => Stop::Headers { end, bounded: action == HEADERS_STOP_AND_BUFFER },
        };
        Vec::new()
    }

    fn offer_data(
        &mut self,
        stream: &StreamRef,
        dir: Dir,
        slot: usize,
        bytes: Vec<u8>,
        end: bool,
    ) -> Vec<Item> {
        let limit = self.world.limits.buffer_bytes;
        let over = {
            let mut locked = stream.lock();
            let native = locked.slots[slot].link == Link::Native;
            let side = locked.side_mut(dir, slot);
            side.headers_held |= matches!(side.stop, Stop::Await { .. });
            // Envoy shows a native filter what it holds back apart from what comes.
            if side.buffering && !native {
                side.held.extend_from_slice(&bytes);
                side.held.len() > limit
            } else {
                locked.way_mut(dir).flight = bytes;
                false
            }
        };
        if over {
            self.body_too_large(stream, dir);
            return Vec::new();
        }
        let callback = [Callback::RequestBody, Callback::ResponseBody][dir.index()];
        let called = self.call_filter(stream, dir, slot, callback, end);
        let mut locked = stream.lock();
        if locked.is_over() {
            return Vec::new();
        }
        let flight = std::mem::take(&mut locked.way_mut(dir).flight);
        let side = locked.side_mut(dir, slot);
        let buffered = std::mem::take(&mut side.buffering);
        let action = match called {
            Called::Not => CONTINUE,
            Called::Returned(action) => action,
            Called::Failed => {
                drop(locked);
                self.fail_stream(stream, slot);
                return Vec::new();
            }
        };
        if action == CONTINUE {
            side.stop = Stop::No;
            let mut bytes = std::mem::take(&mut side.held);
            bytes.extend(flight);
            let mut onward = held_headers(side);
            onward.push(Item::Data { bytes, end });
            return onward;
        }
        side.stop = Stop::Body;
        side.held_end |= end;
        match action {
            STOP => {
                side.held.extend(flight);
                side.buffering = true;
            }
            DATA_WATERMARK => side.held.extend(flight),
            // Bytes that are not buffered are gone: the filter has taken them.
            DATA_NO_BUFFER if buffered => {}
            _ => {}
        }
        let over = action == STOP && side.held.len() > limit;
        drop(locked);
        if over {
            self.body_too_large(stream, dir);
        }
        Vec::new()
    }

    fn offer_trailers(&mut self, stream: &StreamRef, dir: Dir, slot: usize) -> Vec<Item> {
        let callback = [Callback::RequestTrailers, Callback::ResponseTrailers][dir.index()];
        match self.call_filter(stream, dir, slot, callback, true) {
            Called::Not | Called::Returned(CONTINUE) => {}
            Called::Failed => {
                self.fail_stream(stream, slot);
                return Vec::new();
            }
            Called::Returned(_) => {
                let mut locked = stream.lock();
                let side = locked.side_mut(dir, slot);
                side.headers_held |= matches!(side.stop, Stop::Await { .. });
                side.stop = Stop::Trailers;
                return Vec::new();
            }
        }
        let mut locked = stream.lock();
        let side = locked.side_mut(dir, slot);
        side.headers_held |= matches!(side.stop, Stop::Await { .. });
        side.stop = Stop::No;
        let mut onward = held_headers(side);
        onward.extend(release_held(side, false).into_iter().chain([Item::Trailers]));
        onward
    }

    /// The filter goes on (`proxy_continue_stream`).
    pub(crate) fn resume(&mut self, stream: &StreamRef, dir: Dir, slot: usize) {
        let (position, items, again) = {
            let mut locked = stream.lock();
            if locked.is_over() {
                return;
            }
            let slots = locked.slots.len();
            let position = dir.slot(slot, slots);
            let side = locked.side_mut(dir, slot);
            let stop = std::mem::take(&mut side.stop);
            let end = side.held_end;
            let held_trailers = std::mem::take(&mut side.held_trailers);
            let mut onward = held_headers(side);
            let mut again = Vec::new();
            match stop {
                Stop::No => return,
                Stop::Await { end } => onward.push(Item::Headers { end }),
                // The filter has not seen what came after the headers: it is shown that now.
                Stop::Headers { end: headers_end, .. } => {
                    onward.push(Item::Headers { end: headers_end });
                    again.extend(release_held(side, end && !held_trailers));
                    if held_trailers {
                        again.push(Item::Trailers);
                    }
                }
                Stop::Body => {
                    side.buffering = false;
                    onward.extend(release_held(side, end));
                }
                Stop::Trailers => {
                    side.buffering = false;
                    onward.extend(release_held(side, false));
                    onward.push(Item::Trailers);
                }
            }
            (position, onward, again)
        };
        for item in items {
            self.deliver(stream, dir, position + 1, item);
        }
        for item in again {
            self.deliver(stream, dir, position, item);
        }
    }

    /// Does what the module asked for during the callback that has just returned.
    pub(crate) fn act(&mut self, worker: usize, vm: usize) {
        while let Some((context, action)) = self.vm_mut(worker, vm).state_mut().actions.pop_front() {
            let found = self.vm_mut(worker, vm).state().contexts.get(&context).and_then(|c| c.stream.clone());
            let Some((stream, slot)) = found else { continue };
            match action {
                Action::Continue(dir) => self.resume(&stream, dir, slot),
                Action::Close => self.reset(&stream, "wasm_close_stream", 0),
                Action::LocalReply { status, details, headers, body, grpc_status } => {
                    let queue = &mut self.vm_mut(worker, vm).state_mut().actions;
                    let details = drop_later_replies(queue, context).unwrap_or(details);
                    let plugin = Some(stream.lock().slots[slot].plugin);
                    let reply = Reply { status, details, headers, body, grpc_status, plugin, flags: 0 };
                    self.local_reply(&stream, reply);
                }
            }
        }
        self.finish_done(worker, vm);
    }

    /// The filter's VM is dead: the request gets 503, once. Envoy does so under every failure policy, also
    /// under one that lets later requests pass.
    fn fail_stream(&mut self, stream: &StreamRef, slot: usize) {
        let mut locked = stream.lock();
        if std::mem::replace(&mut locked.slots[slot].failed, true) {
            return;
        }
        drop(locked);
        self.local_reply(stream, Reply::host(503, "wasm_fail_stream", "", 0));
    }

    fn body_too_large(&mut self, stream: &StreamRef, dir: Dir) {
        let reply = match dir {
            Dir::Request => Reply::host(413, "request_payload_too_large", "Payload Too Large", 0),
            Dir::Response => Reply::host(500, "response_payload_too_large", "Internal Server Error", 0),
        };
        self.local_reply(stream, reply);
    }
}

/// Of several replies in one callback the first is sent, and the last one's details are kept.
fn drop_later_replies(queue: &mut VecDeque<(u32, Action)>, context: u32) -> Option<String> {
    let mut last = None;
    queue.retain(|(id, action)| match action {
        Action::LocalReply { details, .. } if *id == context => {
            last = Some(details.clone());
            false
        }
        _ => true,
    });
    last
}

/// Whether a local reply made the rest of this way pointless.
fn overtaken(stream: &Stream, dir: Dir) -> bool {
    dir == Dir::Request && stream.local_reply.is_some()
}

/// Puts an item to what waits at a filter that stopped at the headers. True if it is too much.
fn hold(side: &mut Side, item: Item, limit: usize) -> bool {
    match item {
        Item::Data { bytes, end } => {
            side.held.extend(bytes);
            side.held_end |= end;
        }
        Item::Trailers => {
            side.held_trailers = true;
            side.held_end = true;
        }
        Item::Headers { .. } => {}
    }
    side.held.len() > limit
}

/// The headers that waited at a filter for what came behind them.
fn held_headers(side: &mut Side) -> Vec<Item> {
    std::mem::take(&mut side.headers_held).then_some(Item::Headers { end: false }).into_iter().collect()
}

/// The bytes that waited at a filter, if there are any or the end of the stream hangs on them.
fn release_held(side: &mut Side, end: bool) -> Option<Item> {
    side.buffering = false;
    let bytes = std::mem::take(&mut side.held);
    (!bytes.is_empty() || end).then_some(Item::Data { bytes, end })
}
