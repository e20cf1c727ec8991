//! One request's way through the stages, and what a worker keeps between requests.
//!
//! The engine knows no proxy: what it needs of one are [`port`]s, which a target implements. It knows no
//! stage either: [`Stage`]s are values in a list ([`Root`]), and a crate of its own each.
//!
//! * [`Request`] is the state machine of one request in one plugin.
//! * [`PolicySource`] is the long poll and the snapshot that it brings; workers of a process may share one.
//! * [`metrics`] is the closed list of what is counted.
//! * [`Worker`] is what the plugins of one worker share: caches, questions to the control service, requests
//!   that wait, and the journal of audit records with its delivery.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

pub mod answer;
mod batch;
pub mod cache;
pub mod closed_list;
pub mod cluster;
pub mod courier;
pub mod grpc;
pub mod guarded;
pub mod head;
pub mod headers;
pub mod introspection;
pub mod journal;
pub mod kept_tokens;
pub mod key_refresh;
pub mod link;
pub mod meter;
pub mod metrics;
pub mod open;
mod owner;
pub mod plugin;
pub mod port;
mod problem;
mod registry;
pub mod reply;
pub mod request;
pub mod request_state;
pub mod resource;
pub mod source;
pub mod stage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tokens;
pub mod waiting;
pub mod worker;

pub use answer::Answer;
pub use plugin::{Instance, Plugin};
pub use request::{Request, Verdict};
pub use source::PolicySource;
pub use stage::{Context, Flow, Root, Stage};
pub use worker::Worker;
