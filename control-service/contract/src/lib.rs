//! Requests and responses of the platform API, written once: what the service takes and gives, and what the command
//! line sends and reads.
//!
//! A request knows what makes it one that can be carried out. A field that may be absent is left out where it says
//! nothing; a service refuses fields that it does not know, and a client passes over those that it does not know.

pub mod administrators;
pub mod agents;
pub mod audit;
pub mod callers;
pub mod calls;
pub mod changes;
pub mod clients;
pub mod clusters;
pub mod configuration;
mod day;
mod invalid;
pub mod issuers;
pub mod keys;
mod lists;
mod problem;
pub mod revocations;
mod secret;
mod wait;

use day::day;
pub use invalid::{Invalid, MAX_LIFE_S, MAX_OVERLAP_S, end, overlap};
pub use lists::{ListQuery, TenantListQuery, limit};
pub use problem::ProblemDocument;
pub use secret::ShownOnce;
pub use wait::Wait;
