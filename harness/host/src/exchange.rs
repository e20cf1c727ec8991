//! One request and what became of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::flow::{Dir, LocalReply, Seen, StreamRef};
use crate::headers::HeaderMap;
use crate::world::{LogLine, Trace, World};

/// Lines of the trace that are printed: a module that loops would bury the rest.
const SHOWN_LINES: usize = 1000;

/// A request on its way, or over. The handle is live: after [`Host::advance`](crate::Host::advance) it
/// shows what has happened since. It outlives the host.
pub struct Exchange {
    id: u64,
    stream: StreamRef,
    world: Arc<World>,
}

impl Exchange {
    pub(crate) fn new(stream: &StreamRef, world: &Arc<World>) -> Self {
        let id = stream.lock().id;
        Self { id, stream: stream.clone(), world: Arc::clone(world) }
    }

    pub(crate) fn stream(&self) -> &StreamRef {
        &self.stream
    }

    pub(crate) fn is_of(&self, world: &Arc<World>) -> bool {
        Arc::ptr_eq(&self.world, world)
    }

    pub(crate) fn death(&self) -> Option<String> {
        self.stream.lock().held_by_the_dead()
    }

    /// What the upstream saw; `None` if the request did not get there.
    pub fn upstream(&self) -> Option<Seen> {
        self.stream.lock().upstream.clone()
    }

    /// What the client saw; `None` as long as it saw nothing.
    pub fn response(&self) -> Option<Seen> {
        self.stream.lock().downstream.clone()
    }

    /// The status that the client saw.
    pub fn status(&self) -> Option<u16> {
        self.response().and_then(|seen| seen.status())
    }

    /// The request's headers as the filters left them so far.
    pub fn request_headers(&self) -> HeaderMap {
        self.stream.lock().way(Dir::Request).headers.clone().unwrap_or_default()
    }

    /// The answer that did not come from the upstream, if there was one.
    pub fn local_reply(&self) -> Option<LocalReply> {
        self.stream.lock().local_reply.clone()
    }

    /// Why the stream ended without a whole response, if it did.
    pub fn reset(&self) -> Option<String> {
        self.stream.lock().reset.clone()
    }

    /// The upstream of the route, once it was looked up.
    pub fn route(&self) -> Option<String> {
        self.stream.lock().route.clone().flatten()
    }

    /// Whether the exchange is over: answered in full, or reset.
    pub fn is_over(&self) -> bool {
        self.stream.lock().is_over()
    }

    /// Whether the request or its response waits: for a plugin, or for an answer.
    pub fn is_paused(&self) -> bool {
        !self.is_over()
    }

    /// Whether a filter that stopped the stream with back-pressure holds more than the buffer's limit: a
    /// real proxy would have stopped reading from the sender.
    pub fn is_under_backpressure(&self) -> bool {
        self.stream.lock().backpressure
    }

    /// How long it took, in virtual time; `None` if it is not over.
    pub fn duration(&self) -> Option<Duration> {
        let stream = self.stream.lock();
        stream.finished.map(|end| end.saturating_sub(stream.started))
    }

    /// A value of the stream's filter state: `wasm.` before a property that a plugin set.
    pub fn filter_state(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.stream.lock().filter_state.get(key.as_ref()).cloned()
    }

    /// The hostcalls that were made for this exchange.
    pub fn trace(&self) -> Trace {
        self.world.lock().trace.filter(|call| call.exchange == Some(self.id))
    }

    /// The lines that were logged for this exchange.
    pub fn logs(&self) -> Vec<LogLine> {
        let world = self.world.lock();
        world.logs.iter().filter(|line| line.exchange == Some(self.id)).cloned().collect()
    }
}

impl fmt::Display for Exchange {
    /// Everything about the exchange as text that does not change from run to run: fit for snapshots.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if let Some(reason) = self.reset() {
            format!("reset ({reason})")
        } else if let Some(status) = self.status().filter(|_| self.is_over()) {
            format!("over, status {status}")
        } else if let Some(death) = self.death() {
            format!("waiting for ever: {death}")
        } else {
            "waiting".to_owned()
        };
        writeln!(f, "exchange: {state}")?;
        if let Some(LocalReply { status, details, plugin }) = self.local_reply() {
            let by = plugin.map_or_else(|| "the host".to_owned(), |plugin| format!("plugin {plugin}"));
            writeln!(f, "local reply: {status} by {by} ({details})")?;
        }
        match self.upstream() {
            Some(seen) => write_seen(f, "upstream saw", &seen)?,
            None => writeln!(f, "upstream saw: nothing")?,
        }
        match self.response() {
            Some(seen) => write_seen(f, "client saw", &seen)?,
            None => writeln!(f, "client saw: nothing")?,
        }
        let logs = self.logs();
        if !logs.is_empty() {
            writeln!(f, "log:")?;
            for line in logs {
                writeln!(f, "  {line}")?;
            }
        }
        writeln!(f, "trace:")?;
        let trace = self.trace().to_string();
        for line in trace.lines().take(SHOWN_LINES) {
            writeln!(f, "  {line}")?;
        }
        match trace.lines().count().saturating_sub(SHOWN_LINES) {
            0 => Ok(()),
            more => writeln!(f, "  … and {more} more lines (Exchange::trace has them)"),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_seen(f: &mut fmt::Formatter<'_>, what: &str, seen: &Seen) -> fmt::Result {
    writeln!(f, "{what}{}:", if seen.complete { "" } else { " (so far)" })?;
    for line in seen.headers.to_string().lines() {
        writeln!(f, "  {line}")?;
    }
    let body = seen.body_bytes();
    if !body.is_empty() {
        writeln!(f, "  body ({} bytes): {}", body.len(), crate::headers::Printable(&body))?;
    }
    for line in seen.trailers.to_string().lines() {
        writeln!(f, "  trailer {line}")?;
    }
    Ok(())
}
