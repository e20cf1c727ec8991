//! Where routes go: a folder that istiod watches; and what brings it in step with what is wanted.

mod error;
mod folder;
mod reconcile;
mod sink;

pub use error::SinkError;
pub use folder::Folder;
pub use reconcile::{Report, Task, reconcile};
pub use sink::{Sink, Work};
