//! How a request ended.

/// What a proxy knows of a request that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Envoy's response flags.
    pub flags: u64,
    /// Duration in microseconds, where the engine did not see the beginning.
    pub duration_us: u64,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
}

/// The response flags that say that the upstream was not reached or did not answer: no healthy host, time-out, reset by
/// the other side, no connection, a connection that ended.
const UNANSWERED: u64 = 0x2 | 0x4 | 0x10 | 0x20 | 0x40;

impl Outcome {
    /// Whether the upstream was not reached, or did not answer.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.flags & UNANSWERED != 0
    }
}

/// What of an [`Outcome`] the engine does not know already: each part may cost a crossing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeWanted {
    /// The duration.
    pub duration: bool,
    /// Bytes of the request's body.
    pub request_bytes: bool,
    /// Bytes of the response's body.
    pub response_bytes: bool,
}
