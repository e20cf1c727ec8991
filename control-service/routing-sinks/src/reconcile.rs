//! One pass: what is wanted, what is there, and what has to be done about it.

use portcullis_control_routing::{Plan, Resource, plan};

use crate::error::SinkError;
use crate::sink::{Sink, Work};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Make what is missing, and change what is otherwise.
    pub apply: bool,
    /// Delete what is not wanted.
    pub prune: bool,
    /// Do nothing of it.
    pub dry_run: bool,
}

/// What a pass has found and done.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was asked for of what differed.
    pub plan: Plan,
    /// How many would have to be deleted, and nobody asked for that.
    pub left: usize,
}

/// Runs one pass.
///
/// # Errors
/// [`SinkError`], when nothing was done.
pub async fn reconcile(sink: &impl Sink, wanted: &[Resource], task: Task) -> Result<Report, SinkError> {
    let present = sink.present().await?;
    let mut plan = plan(wanted, &present);
    if !task.apply {
        (plan.create, plan.change) = (Vec::new(), Vec::new());
    }
    let mut left = 0;
    if !task.prune {
        left = plan.delete.len();
        plan.delete = Vec::new();
    }
    if !task.dry_run {
        sink.carry_out(Work { present: &present, plan: &plan }).await?;
    }
    Ok(Report { plan, left })
}
