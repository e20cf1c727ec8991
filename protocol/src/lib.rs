//! What filters and control service say to each other: the messages of `proto/portcullis/mesh/v1`,
//! how they are signed, and what both ends agree on about audit records and secrets.
//!
//! Nothing here decides: checked types are made from the messages by those who read them.

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

pub mod audit;
pub mod record;
pub mod scan;
pub mod secrets;
pub mod snapshot;
pub mod tags;
pub mod wire;
