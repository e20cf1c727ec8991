//! What a callback can answer besides success.

use thiserror::Error;

/// Result of a callback.
pub type AbiResult<T> = Result<T, AbiError>;

/// A callback that did not succeed: which one, and what Envoy answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("Envoy's {call} failed: {fault}")]
pub struct AbiError {
    /// Name of the callback, without its prefix.
    pub call: &'static str,
    /// What went wrong.
    #[source]
    pub fault: HostErrorKind,
}

/// An answer of Envoy's other than success, or one that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum HostErrorKind {
    /// Envoy said no, without a reason: the thing does not exist in this phase of the stream.
    #[error("refused (not possible in this phase of the stream)")]
    Refused,
    /// A pointer is null or misaligned.
    #[error("Envoy handed over a bad pointer")]
    BadPointer,
    /// A length or number is not possible.
    #[error("Envoy handed over a bad length")]
    BadLength,
    /// A header's name or value is not possible in HTTP.
    #[error("bad name or value of a header")]
    BadHeader,
    /// Envoy cannot write an empty value: it takes it for "remove".
    #[error("an empty value cannot be written")]
    EmptyValue,
    /// There is more than this layer reads or writes.
    #[error("too large")]
    TooLarge,
    /// The metric was not defined by this configuration.
    #[error("no such metric")]
    UnknownMetric,
    /// The labels do not fit the metric.
    #[error("the labels do not fit")]
    Labels,
    /// Metrics can be defined only while a configuration is made.
    #[error("too late to define a metric")]
    Frozen,
    /// A callout needs `:method`, `:path` and `host` (or `:authority`).
    #[error("the callout lacks one of :method, :path and host")]
    MissingHeaders,
    /// Envoy knows no cluster of that name.
    #[error("Envoy has no cluster of that name")]
    UnknownCluster,
    /// The request could not be begun: no healthy host, or too many requests.
    #[error("the callout could not be sent (is a host of the cluster healthy?)")]
    CannotSend,
    /// A number that this layer does not know.
    #[error("unknown answer {0}")]
    Other(u32),
}

impl HostErrorKind {
    /// This fault as the answer of callback `call`.
    #[must_use]
    pub fn of(self, call: &'static str) -> AbiError {
        AbiError { call, fault: self }
    }

    /// What the result of a metric callback means.
    pub(super) fn metric(result: u32) -> Result<(), Self> {
        Err(match result {
            0 => return Ok(()),
            1 => Self::UnknownMetric,
            2 => Self::Labels,
            3 => Self::Frozen,
            other => Self::Other(other),
        })
    }

    /// What the result of beginning a callout means.
    pub(super) fn callout(result: u32) -> Result<(), Self> {
        Err(match result {
            0 => return Ok(()),
            1 => Self::MissingHeaders,
            2 => Self::UnknownCluster,
            // An id that is already taken comes from Envoy itself: nothing that a caller could mend.
            4 => Self::CannotSend,
            other => Self::Other(other),
        })
    }
}

/// `Ok` where Envoy said yes.
pub(super) fn done(call: &'static str, yes: bool) -> AbiResult<()> {
    if yes { Ok(()) } else { Err(HostErrorKind::Refused.of(call)) }
}
