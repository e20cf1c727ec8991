//! What both places have in common.

use portcullis_control_routing::{Plan, Present};

use crate::error::SinkError;

/// What is to be carried out.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// What was there.
    pub present: &'a [Present],
    /// What leads from there to here; what was not asked for is left out of it.
    pub plan: &'a Plan,
}

/// A place for routes.
pub trait Sink {
    /// What of ours is there.
    ///
    /// # Errors
    /// [`SinkError`].
    fn present(&self) -> impl Future<Output = Result<Vec<Present>, SinkError>> + Send;

    /// Carries out a plan.
    ///
    /// # Errors
    /// [`SinkError`].
    fn carry_out(&self, work: Work<'_>) -> impl Future<Output = Result<(), SinkError>> + Send;
}
