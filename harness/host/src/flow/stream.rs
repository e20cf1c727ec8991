//! The state of one request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::headers::HeaderMap;
use crate::property::PropertyTree;

/// The way of the request, or the way back of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dir {
    Request,
    Response,
}

impl Dir {
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Request => 0,
            Self::Response => 1,
        }
    }

    /// The filter at a position of this way: requests pass the chain forwards, responses backwards.
    pub(crate) fn slot(self, position: usize, slots: usize) -> usize {
        match self {
            Self::Request => position,
            Self::Response => slots - 1 - position,
        }
    }
}

/// A stream that the host, its VMs and the test's handle share.
#[derive(Clone)]
pub(crate) struct StreamRef(Arc<Mutex<Stream>>);

impl StreamRef {
    pub(crate) fn new(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one end of the chain saw of a request or response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Pseudo headers and headers.
    pub headers: HeaderMap,
    /// The body, in the parts in which it came out of the chain.
    pub body: Vec<Vec<u8>>,
    /// Trailers; none if empty.
    pub trailers: HeaderMap,
    /// Whether it is complete.
    pub complete: bool,
}

impl Seen {
    /// The body in one piece.
    pub fn body_bytes(&self) -> Vec<u8> {
        self.body.concat()
    }

    /// The body as text, with what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body_bytes()).into_owned()
    }

    /// The `:status` of a response.
    pub fn status(&self) -> Option<u16> {
        self.headers.get(":status").and_then(|status| status.parse().ok())
    }

    /// The first value of a header, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}

/// An answer that did not come from the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// The HTTP status.
    pub status: u16,
    /// `response.code_details`: `wasm_fail_stream`, `route_not_found`, or what the plugin gave.
    pub details: String,
    /// The plugin that answered; `None` for the host itself.
    pub plugin: Option<usize>,
}

/// One direction of a stream.
#[derive(Default)]
pub(crate) struct Way {
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) trailers: Option<HeaderMap>,
    /// The part of the body that a filter is looking at.
    pub(crate) flight: Vec<u8>,
    /// Everything has arrived from the outside.
    pub(crate) ended: bool,
    /// Body bytes that have arrived from the outside.
    pub(crate) bytes: u64,
}

/// Why a filter holds what comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stop {
    #[default]
    No,
    /// At the headers: nothing is shown to the filter until it goes on.
    Headers { end: bool, bounded: bool },
    /// At the headers, and the filter is shown what comes behind them.
    Await { end: bool },
    /// In the body: later parts are shown to the filter.
    Body,
    /// At the trailers.
    Trailers,
}

/// A filter's part in one direction.
#[derive(Default)]
pub(crate) struct Side {
    pub(crate) stop: Stop,
    /// Body bytes that wait at this filter.
    pub(crate) held: Vec<u8>,
    /// The filter asked for the whole body so far with every part.
    pub(crate) buffering: bool,
    /// The end of the stream waits here too.
    pub(crate) held_end: bool,
    /// The headers wait here although the filter has seen pieces behind them.
    pub(crate) headers_held: bool,
    /// Trailers wait here, and the filter has not seen them.
    pub(crate) held_trailers: bool,
}

/// How a stream is bound to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The plugin is left out (its VM is dead and it fails open, or it was never configured).
    Skipped,
    /// The plugin's VM is dead: the request fails.
    Dead,
    /// A context in a VM of the worker.
    Live { vm: usize, context: u32 },
    /// A native filter.
    Native,
}

/// One filter of the chain, for one stream.
pub(crate) struct Slot {
    pub(crate) plugin: usize,
    pub(crate) link: Link,
    pub(crate) sides: [Side; 2],
    /// Whether `proxy_on_context_create` ran for this stream.
    pub(crate) created: bool,
    /// The filter's VM failed and the host answered for it: it is not called any more.
    pub(crate) failed: bool,
    /// How the filter's VM died, if it did while the stream was open.
    pub(crate) death: Option<String>,
}

pub(crate) struct Stream {
    pub(crate) id: u64,
    pub(crate) worker: usize,
    pub(crate) generation: u64,
    ways: [Way; 2],
    pub(crate) slots: Vec<Slot>,
    pub(crate) filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) properties: PropertyTree,
    pub(crate) started: Duration,
    pub(crate) started_unix: u64,
    pub(crate) finished: Option<Duration>,
    pub(crate) upstream: Option<Seen>,
    pub(crate) downstream: Option<Seen>,
    /// The route: not looked up, looked up and absent, or a cluster.
    pub(crate) route: Option<Option<String>>,
    pub(crate) local_reply: Option<LocalReply>,
    pub(crate) details: Option<String>,
    pub(crate) flags: u64,
    pub(crate) reset: Option<String>,
    /// A request that waits for the test to answer as its upstream.
    pub(crate) waiting: bool,
    /// The test gave the headers to the last one: Envoy's own are not missed.
    pub(crate) exact: bool,
    pub(crate) backpressure: bool,
}

impl Stream {
    pub(crate) fn new(id: u64, worker: usize, started: Duration, started_unix: u64) -> Self {
        Self {
            id,
            worker,
            generation: 0,
            ways: [Way::default(), Way::default()],
            slots: Vec::new(),
            filter_state: BTreeMap::new(),
            properties: PropertyTree::default(),
            started,
            started_unix,
            finished: None,
            upstream: None,
            downstream: None,
            route: None,
            local_reply: None,
            details: None,
            flags: 0,
            reset: None,
            waiting: false,
            exact: false,
            backpressure: false,
        }
    }

    pub(crate) fn way(&self, dir: Dir) -> &Way {
        match dir {
            Dir::Request => &self.ways[0],
            Dir::Response => &self.ways[1],
        }
    }

    pub(crate) fn way_mut(&mut self, dir: Dir) -> &mut Way {
        match dir {
            Dir::Request => &mut self.ways[0],
            Dir::Response => &mut self.ways[1],
        }
    }

    pub(crate) fn side_mut(&mut self, dir: Dir, slot: usize) -> &mut Side {
        &mut self.slots[slot].sides[dir.index()]
    }

    /// How a VM died whose filter holds this stream: as in Envoy, nothing will let it go on.
    pub(crate) fn held_by_the_dead(&self) -> Option<String> {
        let holds = |slot: &&Slot| slot.sides.iter().any(|side| side.stop != Stop::No);
        let open = self.finished.is_none();
        self.slots.iter().filter(|_| open).filter(holds).find_map(|slot| slot.death.clone())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.finished.is_some()
    }

    /// The body that a filter may see: all that it buffers, or the part in hand.
    pub(crate) fn visible_body(&self, dir: Dir, slot: usize, in_hand: bool) -> Option<&[u8]> {
        let side = &self.slots.get(slot)?.sides[dir.index()];
        if side.buffering { Some(&side.held) } else { in_hand.then_some(self.way(dir).flight.as_slice()) }
    }

    pub(crate) fn visible_body_mut(&mut self, dir: Dir, slot: usize, in_hand: bool) -> Option<&mut Vec<u8>> {
        if self.slots.get(slot)?.sides[dir.index()].buffering {
            return self.slots.get_mut(slot).map(|slot| &mut slot.sides[dir.index()].held);
        }
        if in_hand { Some(&mut self.way_mut(dir).flight) } else { None }
    }

    /// The route is looked up again when it is needed next.
    pub(crate) fn forget_route(&mut self) {
        self.route = None;
    }
}
