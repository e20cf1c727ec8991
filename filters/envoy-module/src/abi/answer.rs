//! Answers to callouts.

use thiserror::Error;

use super::bytes::{items, slice};
use super::error::HostErrorKind;
use super::headers;
use super::raw::{EnvoyBuffer, EnvoyHeader};

/// A callout under way, unique within its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CalloutId(pub(super) u64);

/// Why a callout has no answer. A time-out is none of them: Envoy answers it with status 504.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum CalloutFailure {
    /// The connection or the stream was reset.
    #[error("the callout was reset")]
    Reset,
    /// The answer is larger than Envoy buffers.
    #[error("the answer is larger than Envoy buffers")]
    TooLarge,
    /// Envoy handed over what makes no sense.
    #[error("Envoy handed over a malformed answer")]
    Malformed,
    /// A result that this layer does not know.
    #[error("unknown result {0}")]
    Other(u32),
}

/// The answer to a callout, readable while [`on_answer`](super::ConfigEvents::on_answer) runs.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    headers: &'a [EnvoyHeader],
    chunks: &'a [EnvoyBuffer],
}

impl<'a> Answer<'a> {
    /// Checks what Envoy hands over, once and for all.
    ///
    /// # Safety
    /// Headers and chunks come from Envoy and stay valid and unchanged for `'a`.
    pub(super) unsafe fn new(
        headers: (*const EnvoyHeader, usize),
        chunks: (*const EnvoyBuffer, usize),
    ) -> Result<Self, HostErrorKind> {
        // SAFETY: the caller's promise.
        let (headers, chunks) = unsafe { (items(headers.0, headers.1)?, items(chunks.0, chunks.1)?) };
        let parts = headers.iter().flat_map(|header| [header.name, header.value]);
        for part in parts.chain(chunks.iter().copied()) {
            // SAFETY: the caller's promise.
            unsafe { slice(part) }?;
        }
        Ok(Self { headers, chunks })
    }

    /// The HTTP status; `None` if it is none.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.header(b":status")?).ok()?.parse().ok()
    }

    /// The first value of a header; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.headers().find(|header| header.0 == name).map(|header| header.1)
    }

    /// All headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.headers.iter().map(|header| (bytes(header.name), bytes(header.value)))
    }

    /// Headers in the layout of [`StreamHandle::read_headers`](super::StreamHandle::read_headers).
    ///
    /// # Errors
    /// When they are too large for it.
    pub fn read_headers(&self, out: &mut Vec<u8>) -> Result<(), HostErrorKind> {
        // SAFETY: checked in `new`, and valid for `'a`.
        unsafe { headers::copy(self.headers, out) }
    }

    /// Bytes of body.
    #[must_use]
    pub fn body_size(&self) -> usize {
        self.chunks.iter().fold(0, |sum, chunk| sum.saturating_add(chunk.size))
    }

    /// The body, piece by piece.
    pub fn chunks(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.chunks.iter().map(|chunk| bytes(*chunk))
    }

    /// The whole body, copied.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        self.chunks().fold(Vec::with_capacity(self.body_size()), |mut body, chunk| {
            body.extend_from_slice(chunk);
            body
        })
    }
}

/// Bytes that were checked when the answer was made.
fn bytes<'a>(buffer: EnvoyBuffer) -> &'a [u8] {
    // SAFETY: only called for parts of an `Answer<'a>`, which are valid for `'a`.
    unsafe { slice(buffer) }.unwrap_or_default()
}

/// What the result of a callout means.
pub(super) fn failure(result: u32) -> CalloutFailure {
    match result {
        1 => CalloutFailure::Reset,
        2 => CalloutFailure::TooLarge,
        other => CalloutFailure::Other(other),
    }
}
