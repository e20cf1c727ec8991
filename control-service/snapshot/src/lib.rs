//! The snapshot as the service holds it, the pages that it answers polls with, and which worker has which.

pub mod entries;
mod freshness;
mod hub;
mod index;
mod known_as;
mod settings;
mod view;
mod workers;

pub use freshness::{Behind, Freshness};
pub use hub::{Hub, Poll};
pub use index::{Ask, Change, ClusterNews, Published, SnapshotIndex};
pub use known_as::Issuers;
pub use settings::Settings;
pub use view::{UnknownView, View};
pub use workers::{OtherReplica, POLLS, PollReport, Polling, RolloutScope, Sighting, WorkerChanges, Workers};
