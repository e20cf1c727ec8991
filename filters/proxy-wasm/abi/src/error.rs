//! What a hostcall can answer besides success.

use thiserror::Error;

/// Result of a hostcall.
pub type HostResult<T> = Result<T, HostError>;

/// A hostcall that did not succeed: which one, and what the proxy answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("hostcall {call} failed: {fault}")]
pub struct HostError {
    /// Name of the hostcall, without the `proxy_` prefix.
    pub call: &'static str,
    /// What the proxy answered.
    #[source]
    pub fault: HostErrorKind,
}

/// A status of the ABI other than `Ok`, or an answer that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum HostErrorKind {
    /// The named thing does not exist.
    #[error("not found")]
    NotFound,
    /// The proxy refused an argument; for a callout: it knows no cluster of that name.
    #[error("bad argument (for a callout: check that the proxy has a cluster of that name)")]
    BadArgument,
    /// The proxy could not serialise its answer.
    #[error("the proxy could not serialise its answer")]
    SerializationFailure,
    /// The proxy could not parse an argument.
    #[error("the proxy could not parse an argument")]
    ParseFailure,
    /// The proxy refused an expression.
    #[error("bad expression")]
    BadExpression,
    /// The proxy could not write into the module's memory; the VM is probably out of memory.
    #[error("invalid memory access (the VM may be out of memory)")]
    InvalidMemoryAccess,
    /// The queue is empty.
    #[error("empty")]
    Empty,
    /// Somebody else changed the shared value first.
    #[error("compare-and-set mismatch")]
    CasMismatch,
    /// The answer does not fit what was asked.
    #[error("result mismatch")]
    ResultMismatch,
    /// The proxy failed for a reason of its own; its log says more.
    #[error("internal failure of the proxy (see its log)")]
    InternalFailure,
    /// The connection is gone.
    #[error("broken connection")]
    BrokenConnection,
    /// This proxy does not implement the hostcall.
    #[error("not implemented by this proxy")]
    Unimplemented,
    /// The proxy said `Ok` but what it handed over does not parse.
    #[error("the proxy handed over malformed data")]
    Malformed,
    /// An argument is longer than the ABI can express.
    #[error("an argument is too large for the ABI")]
    TooLarge,
    /// A status that ABI 0.2.1 does not define, or a WASI errno.
    #[error("unknown status {0}")]
    Other(u32),
}

impl HostErrorKind {
    /// `Ok(())` for status 0, the fault for every other number.
    ///
    /// # Errors
    /// Always for a number other than 0.
    pub fn check(status: u32) -> Result<(), Self> {
        Err(match status {
            0 => return Ok(()),
            1 => Self::NotFound,
            2 => Self::BadArgument,
            3 => Self::SerializationFailure,
            4 => Self::ParseFailure,
            5 => Self::BadExpression,
            6 => Self::InvalidMemoryAccess,
            7 => Self::Empty,
            8 => Self::CasMismatch,
            9 => Self::ResultMismatch,
            10 => Self::InternalFailure,
            11 => Self::BrokenConnection,
            12 => Self::Unimplemented,
            other => Self::Other(other),
        })
    }

    /// This fault as the answer of hostcall `call`.
    #[must_use]
    pub fn of(self, call: &'static str) -> HostError {
        HostError { call, fault: self }
    }
}

/// `None` where the proxy says that the thing is legitimately absent.
#[cfg(target_family = "wasm")]
pub(crate) fn absent<T>(result: HostResult<T>, as_absent: HostErrorKind) -> HostResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.fault == as_absent => Ok(None),
        Err(error) => Err(error),
    }
}
