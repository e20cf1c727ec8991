//! Routes to data clusters: a pure function from what is wanted to resources, and the plan that leads there from what is there.
//!
//! Nothing here reads a file, asks a server or looks at a clock. Where the resources go is for
//! `portcullis-control-routing-sinks`.

mod error;
mod istio;
mod plan;
mod render;
mod resource;
mod settings;
mod skupper;
mod text;
mod wanted;

pub use error::{Invalid, Problem};
pub use plan::{Change, Plan, Present, differing, plan};
pub use render::{Grant, cluster_side, render};
pub use resource::{COMPONENT, Kind, MANAGED_BY, MANAGER, OF_CLUSTER, Resource, ResourceId, SELECTOR};
pub use settings::{LinkAccess, Provider, Settings};
pub use text::{Unreadable, read, write};
pub use wanted::{Placement, State, Wanted};
