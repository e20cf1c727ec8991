//! What a filter can do with its stream.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::marker::PhantomData;

use super::bytes::{items, slice};
use super::error::{AbiResult, HostErrorKind, done};
use super::headers::{self, MAX_HEADERS, check_header, check_written};
use super::log::log;
use super::raw::{Callbacks, EnvoyBuffer, EnvoyHeader, FilterPtr, ModuleBuffer};
use super::reply::LocalReply;
use super::scheduler::{ConfigWaker, StreamWaker};
use super::types::{BodyKind, HeaderMap, LogLevel};

/// As many headers are read without a detour.
const FEW_HEADERS: usize = 64;
/// As many pieces of a body are read without a detour.
const FEW_CHUNKS: usize = 16;

/// What an event leaves to be done when it returns: either can end the stream, and with it everything here.
#[derive(Default)]
pub(super) struct Left {
    pub(super) reply: RefCell<Option<LocalReply>>,
    pub(super) resume: Cell<bool>,
}

/// A stream within one of its events, on its worker.
pub struct StreamHandle<'a> {
    pub(super) envoy: FilterPtr,
    pub(super) calls: &'static Callbacks,
    left: &'a Left,
    config: &'a ConfigWaker,
    _worker: PhantomData<*mut c_void>,
}

impl std::fmt::Debug for StreamHandle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamHandle").field("envoy", &self.envoy).finish_non_exhaustive()
    }
}

// SAFETY of every block below: `envoy` is a live filter on its worker's thread while a handle
// exists; what a callback reads are live slices, what it writes are live locals.
impl<'a> StreamHandle<'a> {
    /// # Safety
    /// `envoy` is a live filter of the configuration that `config` wakes, on its worker's thread, for `'a`.
    pub(super) unsafe fn new(
        calls: &'static Callbacks,
        envoy: FilterPtr,
        left: &'a Left,
        config: &'a ConfigWaker,
    ) -> Self {
        Self { envoy, calls, left, config, _worker: PhantomData }
    }

    /// Copies all headers into a buffer, in place of what it held: with one call for their number
    /// and one for all of them.
    ///
    /// The layout, all numbers little-endian `u32`: how many pairs; the lengths of name and value
    /// of each pair; then for each pair the name, a NUL, the value, a NUL.
    ///
    /// # Errors
    /// When there are none of that kind now, or more than 4,096. The buffer is empty then.
    pub fn read_headers(&self, map: HeaderMap, out: &mut Vec<u8>) -> AbiResult<()> {
        const CALL: &str = "http_get_headers";
        out.clear();
        let count = unsafe { (self.calls.http_get_headers_size)(self.envoy, map as u32) };
        let (mut few, mut many);
        let room: &mut [EnvoyHeader] = if count <= FEW_HEADERS {
            few = [EnvoyHeader::EMPTY; FEW_HEADERS];
            few.get_mut(..count).unwrap_or_default()
        } else if count <= MAX_HEADERS {
            many = vec![EnvoyHeader::EMPTY; count];
            &mut many
        } else {
            return Err(HostErrorKind::TooLarge.of(CALL));
        };
        done(CALL, unsafe { (self.calls.http_get_headers)(self.envoy, map as u32, room.as_mut_ptr()) })?;
        unsafe { headers::copy(room, out) }.map_err(|fault| fault.of(CALL))
    }

    /// The first value of a header, copied; the name in lower case.
    ///
    /// # Errors
    /// When Envoy hands over what makes no sense.
    pub fn header(&self, map: HeaderMap, name: &[u8]) -> AbiResult<Option<Vec<u8>>> {
        self.find(map, name).map(|found| found.map(|(value, _)| value.to_vec()))
    }

    /// How many values a header has.
    ///
    /// # Errors
    /// When Envoy hands over what makes no sense.
    pub fn header_count(&self, map: HeaderMap, name: &[u8]) -> AbiResult<usize> {
        self.find(map, name).map(|found| found.map_or(0, |(_, count)| count))
    }

    /// What is found is Envoy's own and stays until a header is changed: copy it at once.
    fn find(&self, map: HeaderMap, name: &[u8]) -> AbiResult<Option<(&[u8], usize)>> {
        let (mut value, mut count) = (EnvoyBuffer::EMPTY, 0);
        let name = ModuleBuffer::new(name);
        let (value_at, count_at) = (&raw mut value, &raw mut count);
        let found =
            unsafe { (self.calls.http_get_header)(self.envoy, map as u32, name, value_at, 0, count_at) };
        if !found {
            return Ok(None);
        }
        let value = unsafe { slice(value) }.map_err(|fault| fault.of("http_get_header"))?;
        Ok(Some((value, count)))
    }

    /// Adds a header beside those of the same name.
    ///
    /// # Errors
    /// When name or value is not possible in HTTP, when the value is empty (Envoy takes that for
    /// "remove"), or when Envoy refuses.
    pub fn add_header(&self, map: HeaderMap, name: &[u8], value: &[u8]) -> AbiResult<()> {
        const CALL: &str = "http_add_header";
        check_written(CALL, name, value)?;
        let (name, value) = (ModuleBuffer::new(name), ModuleBuffer::new(value));
        done(CALL, unsafe { (self.calls.http_add_header)(self.envoy, map as u32, name, value) })
    }

    /// Sets a header in place of all of the same name.
    ///
    /// # Errors
    /// When name or value is not possible in HTTP, when the value is empty (Envoy takes that for
    /// "remove"), or when Envoy refuses.
    pub fn set_header(&self, map: HeaderMap, name: &[u8], value: &[u8]) -> AbiResult<()> {
        const CALL: &str = "http_set_header";
        check_written(CALL, name, value)?;
        let (name, value) = (ModuleBuffer::new(name), ModuleBuffer::new(value));
        done(CALL, unsafe { (self.calls.http_set_header)(self.envoy, map as u32, name, value) })
    }

    /// Removes all headers of a name, if there are any.
    ///
    /// # Errors
    /// When Envoy refuses.
    pub fn remove_header(&self, map: HeaderMap, name: &[u8]) -> AbiResult<()> {
        let name = ModuleBuffer::new(name);
        let done_it =
            unsafe { (self.calls.http_set_header)(self.envoy, map as u32, name, ModuleBuffer::NULL) };
        done("http_set_header", done_it)
    }

    /// Lets Envoy choose the route anew, by the headers as they are now.
    pub fn clear_route_cache(&self) {
        unsafe { (self.calls.http_clear_route_cache)(self.envoy) };
    }

    /// Copies the beginning of a body into a buffer, in place of what it held: at most `max` bytes.
    /// Answers the size of the whole.
    ///
    /// # Errors
    /// When Envoy hands over what makes no sense.
    pub fn read_body(&self, kind: BodyKind, max: usize, out: &mut Vec<u8>) -> AbiResult<usize> {
        const CALL: &str = "http_get_body_chunks";
        out.clear();
        let total = unsafe { (self.calls.http_get_body_size)(self.envoy, kind as u32) };
        let count = unsafe { (self.calls.http_get_body_chunks_size)(self.envoy, kind as u32) };
        let (mut few, mut many);
        let room: &mut [EnvoyBuffer] = if count <= FEW_CHUNKS {
            few = [EnvoyBuffer::EMPTY; FEW_CHUNKS];
            few.get_mut(..count).unwrap_or_default()
        } else {
            // A chunk holds at least a byte, or it would be none.
            many = vec![EnvoyBuffer::EMPTY; count.min(total)];
            if many.len() < count {
                return Err(HostErrorKind::BadLength.of(CALL));
            }
            &mut many
        };
        if count == 0 {
            return Ok(0);
        }
        done(CALL, unsafe { (self.calls.http_get_body_chunks)(self.envoy, kind as u32, room.as_mut_ptr()) })?;
        for chunk in room {
            let chunk = unsafe { items(chunk.data, chunk.size) }.map_err(|fault| fault.of(CALL))?;
            let rest = max.saturating_sub(out.len());
            out.extend_from_slice(chunk.get(..rest).unwrap_or(chunk));
        }
        Ok(total)
    }

    /// Answers the request when this event returns. Has no effect in `on_complete`.
    ///
    /// A reply that is not possible in HTTP becomes a 503: nothing may pass because of it.
    pub fn reply(&self, reply: LocalReply) {
        let bad = reply.headers.iter().find_map(|(name, value)| check_header("", name, value).err());
        let good = bad.is_none() && (200..600).contains(&reply.status);
        if !good {
            log(LogLevel::Error, "portcullis: a reply has a bad status or header: 503 instead");
        }
        let details = || "portcullis_bad_reply".to_owned();
        let refusal = || LocalReply { status: 503, details: details(), ..LocalReply::default() };
        self.left.reply.replace(Some(if good { reply } else { refusal() }));
    }

    /// Lets go on what was held, when this event returns. Only in `on_wake`; elsewhere the action
    /// says it.
    pub fn resume(&self) {
        self.left.resume.set(true);
    }

    pub(super) fn take_resume(&self) -> bool {
        self.left.resume.take()
    }

    /// Wakes this stream later, from whatever thread.
    ///
    /// # Errors
    /// When Envoy hands over what makes no sense.
    pub fn waker(&self) -> AbiResult<StreamWaker> {
        unsafe { StreamWaker::new(self.calls, self.envoy) }
    }

    /// Lets [`ConfigEvents::on_wake`](super::ConfigEvents::on_wake) run on the main thread.
    pub fn wake_main(&self, event: u32) {
        self.config.wake(event.into());
    }
}
