//! What the stage is called.

/// The stage's name.
pub(crate) const STAGE: &str = "cluster-status";
