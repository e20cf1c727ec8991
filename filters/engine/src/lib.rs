//! One request's way through the stages, and what a worker keeps between requests.
//!
//! The engine knows no proxy: what it needs of one are [`port`]s, which a target implements. It knows no
//! stage either: [`Stage`]s are values in a list ([`Root`]), and a crate of its own each.
//!
//! From below to above; nothing knows of what stands after it:
//!
//! * [`head`] is what a request says of itself, [`metrics`] the closed list of what is counted.
//! * [`port`] is what a proxy offers, [`reply`] how we answer instead of an upstream, [`edge`] what is for everybody.
//! * [`PolicySource`] is the long poll and the snapshot that it brings; workers of a process may share one.
//! * [`cache`], [`introspection`] and [`key_refresh`] are what is known of credentials, [`journal`] the audit records
//!   and their delivery, [`exchange`] what the plugins of a module know of a request.
//! * [`Worker`] is what the plugins of one worker share: all of that, and the requests that wait or are open.
//! * [`Stage`] is what decides, [`Plugin`] a configuration with its stages.
//! * [`Request`] is the state machine of one request in one plugin.

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

pub mod cache;
pub mod edge;
pub mod exchange;
pub mod guarded;
pub mod head;
pub mod introspection;
pub mod journal;
pub mod key_refresh;
pub mod link;
pub mod meter;
pub mod metrics;
pub mod open;
mod owner;
pub mod plugin;
pub mod port;
pub mod reply;
pub mod request;
pub mod source;
pub mod stage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod waiting;
pub mod worker;

pub use exchange::answer::Answer;
pub use plugin::{Instance, Plugin};
pub use request::{Request, Verdict};
pub use source::PolicySource;
pub use stage::{Context, Flow, Root, Stage};
pub use worker::Worker;
