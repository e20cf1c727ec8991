//! Streams in native filters.

use crate::native::{NativeFilter, Wishes};

/// A stream in a native filter, and what that asked for.
pub(super) struct Opened {
    pub(super) filter: Box<dyn NativeFilter>,
    pub(super) wishes: Wishes,
    /// It answered the stream itself: as in Envoy it is not shown its own answer.
    pub(super) replied: bool,
}
