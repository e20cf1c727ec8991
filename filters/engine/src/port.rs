//! Ports: what a proxy must offer to the engine, in the engine's words.
//!
//! A target implements them: [`Proxy`] for what is there at any time, [`Stream`] for one request. Nothing
//! above a target knows the proxy's own vocabulary.

mod outcome;

use std::borrow::Cow;
use std::time::Duration;

use crate::head::headers::Headers;
use crate::metrics::MetricId;
pub use crate::port::outcome::{Outcome, OutcomeWanted};

/// Why a port could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {cause}")]
pub struct PortError {
    /// What was tried, in the proxy's own words, for the log.
    pub operation: &'static str,
    /// What the proxy said.
    pub cause: Cow<'static, str>,
}

/// What a port answers.
pub type PortResult<T> = Result<T, PortError>;

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something is degraded, but requests are decided correctly.
    Warning,
    /// Requests are refused that should not have to be.
    Error,
    /// The plugin cannot do its work at all.
    Critical,
}

/// Names a call that is under way, unique in a worker while it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Names a request that waits or is open, unique in a worker while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey(pub u64);

/// An HTTP request to the control service.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The proxy's name of the upstream.
    pub upstream: &'a str,
    /// Headers, with `:method`, `:path` and `:authority` among them.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Body; none is sent if empty.
    pub body: &'a [u8],
    /// Until the proxy gives up.
    pub timeout: Duration,
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, Copy)]
pub struct CalloutResponse<'a> {
    /// The call that is answered.
    pub call: CallId,
    /// HTTP status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The body; `None` when it could not be read or is longer than [`MAX_ANSWER`].
    pub body: Option<&'a [u8]>,
}

/// The longest body of an answer that is read, in bytes.
pub const MAX_ANSWER: usize = 256 * 1024;

/// The hash of a signature that a proxy may verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A signature to be verified: RSASSA-PKCS1-v1_5, or ECDSA with P-256 and the signature in DER.
#[derive(Debug, Clone, Copy)]
pub struct Signature<'a> {
    /// The hash.
    pub hash: Hash,
    /// The key as a `SubjectPublicKeyInfo` in DER.
    pub key: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// What is signed.
    pub text: &'a [u8],
}

/// An answer that the filter gives instead of the upstream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reply<'a> {
    /// HTTP status.
    pub status: u16,
    /// What the proxy's own access log calls it: lower-case words joined by `_`.
    pub details: &'a str,
    /// Headers besides those that the proxy sets itself.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Body.
    pub body: &'a [u8],
    /// `grpc-status`, for a gRPC request.
    pub grpc_status: Option<u32>,
}

/// What outlives the module's memory, where a trap can take that away. Others may write there as well, so
/// what is read is not trusted.
pub trait Store {
    /// Sets a value; false when the proxy refuses.
    fn set(&self, key: &str, value: &[u8]) -> bool;
    /// A value and its version; empty and 0 when there is none.
    fn get(&self, key: &str) -> (Vec<u8>, u32);
    /// Sets a value if its version is still this one.
    fn swap(&self, key: &str, value: &[u8], version: u32) -> bool;
}

/// What a proxy offers at any time.
pub trait Proxy {
    /// Writes a line to the proxy's log.
    fn log(&self, severity: Severity, line: &str);

    /// Wall clock, nanoseconds since the Unix epoch. Can jump.
    ///
    /// # Errors
    /// When the proxy cannot tell the time.
    fn wall_clock_ns(&self) -> PortResult<u64>;

    /// Monotonic clock, nanoseconds since an unknown start.
    ///
    /// # Errors
    /// When the proxy cannot tell the time.
    fn monotonic_ns(&self) -> PortResult<u64>;

    /// Fills `out` from a cryptographic random source.
    ///
    /// # Errors
    /// When there is none; `out` must not be used then.
    fn random(&self, out: &mut [u8]) -> PortResult<()>;

    /// A variable of the environment that the operator gave to the module.
    fn env(&self, name: &str) -> Option<Vec<u8>>;

    /// The proxy's instance (Envoy's node id), as far as it can be told.
    fn instance(&self) -> Vec<u8>;

    /// Sends a call, which goes on when the request ends that caused it. Its answer comes to
    /// [`crate::Instance::on_answer`].
    ///
    /// # Errors
    /// When the proxy does not take it.
    fn call(&self, call: &Call<'_>) -> PortResult<CallId>;

    /// What outlives the module's memory.
    fn store(&self) -> &dyn Store;

    /// Verifies a signature by the proxy's own cryptography; `None` when it has none for that.
    fn verify_signature(&self, signature: &Signature<'_>) -> Option<bool>;

    /// Adds to a counter. A proxy that fails loses it: no request depends on what is counted.
    fn count(&self, metric: MetricId, by: u64);

    /// Sets a gauge.
    fn gauge(&self, metric: MetricId, value: u64);

    /// Adds a value to a histogram.
    fn observe(&self, metric: MetricId, value: u64);
}

/// One request, as the proxy shows it during a callback.
pub trait Stream: Proxy {
    /// Reads the request's headers into a block, whose buffer is used again.
    ///
    /// # Errors
    /// When they cannot be read now.
    fn request_headers(&self, into: &mut Headers) -> PortResult<()>;

    /// Reads the response's headers.
    ///
    /// # Errors
    /// When they cannot be read now.
    fn response_headers(&self, into: &mut Headers) -> PortResult<()>;

    /// Adds a header to the request.
    ///
    /// # Errors
    /// When it cannot be added; the request must be refused then.
    fn add_request_header(&self, name: &str, value: &[u8]) -> PortResult<()>;

    /// Sets a header of the request in place of all of that name.
    ///
    /// # Errors
    /// When it cannot be set; the request must be refused then.
    fn set_request_header(&self, name: &str, value: &[u8]) -> PortResult<()>;

    /// Removes all headers of a name, which is bytes because it may come from the client.
    ///
    /// # Errors
    /// When they cannot be removed; the request must be refused then.
    fn remove_request_header(&self, name: &[u8]) -> PortResult<()>;

    /// Adds a header to the response.
    ///
    /// # Errors
    /// When it cannot be added; the response must be withheld then.
    fn add_response_header(&self, name: &str, value: &[u8]) -> PortResult<()>;

    /// Sets a header of the response in place of all of that name.
    ///
    /// # Errors
    /// When it cannot be set; the response must be withheld then.
    fn set_response_header(&self, name: &str, value: &[u8]) -> PortResult<()>;

    /// Removes all headers of a name from the response.
    ///
    /// # Errors
    /// When they cannot be removed; the response must be withheld then.
    fn remove_response_header(&self, name: &[u8]) -> PortResult<()>;

    /// The body of the request as far as it is buffered, `most` bytes of it at most.
    ///
    /// # Errors
    /// When it cannot be read now.
    fn request_body(&self, most: usize) -> PortResult<Vec<u8>>;

    /// Address and port of the client as the proxy knows it; `None` when it cannot be told.
    fn client_address(&self) -> Option<Vec<u8>>;

    /// The URI in the certificate of the mutual-TLS peer.
    ///
    /// # Errors
    /// When the proxy failed; a peer without one is `None`.
    fn peer_uri(&self) -> PortResult<Option<Vec<u8>>>;

    /// What an earlier filter of ours left on this request for those after it.
    ///
    /// # Errors
    /// When the proxy failed.
    fn handle(&self) -> PortResult<Option<Vec<u8>>>;

    /// Leaves it.
    ///
    /// # Errors
    /// When the proxy refuses it.
    fn set_handle(&self, handle: &[u8]) -> PortResult<()>;

    /// Answers the request instead of the upstream.
    ///
    /// # Errors
    /// When the proxy refuses it; the request must stay held then.
    fn reply(&self, reply: &Reply<'_>) -> PortResult<()>;

    /// The request is going to wait, or was let on and stays open for a while: whoever wakes it by its [`StreamKey`] must be able to from now on.
    ///
    /// # Errors
    /// When nobody could wake it; it is refused then.
    fn expect_wake(&self) -> PortResult<()> {
        Ok(())
    }

    /// Whether this proxy shows the body of a request whose head it holds. Else the head goes on first, and the
    /// body alone is held.
    fn shows_body_of_held(&self) -> bool {
        false
    }

    /// Lets a held request go on.
    ///
    /// # Errors
    /// When the proxy refuses it.
    fn resume(&self) -> PortResult<()>;

    /// The status that the client got, when no response passed this filter. At the end only.
    fn final_status(&self) -> Option<u16>;

    /// What is known at the end only.
    fn outcome(&self, wanted: OutcomeWanted) -> Outcome;
}
