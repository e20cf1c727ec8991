//! The audit stage: one record a request, authenticated while it waits, bounded, and forgotten only when
//! the control service has acknowledged it.
//!
//! See [`Journal`] for how a record waits.

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

mod batch;
mod encode;
mod journal;
mod record;

pub use encode::{Entry, hop, identity, request};
pub use journal::{DEAD_MS, Journal, Store};
