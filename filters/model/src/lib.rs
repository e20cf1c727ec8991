//! What Portcullis decides with: a plugin's configuration, policy documents, decisions, and the
//! reader's copy of the snapshot.
//!
//! Nothing here knows of Proxy-Wasm, of tokio or of a clock: time and randomness are arguments, so
//! that every rule can be tested natively. The filters and the control service share these types;
//! neither keeps a copy of its own.

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

pub mod backoff;
pub mod browser;
pub mod claims;
pub mod config;
pub mod decision;
pub mod edge;
pub mod errors;
pub mod fair;
pub mod grants;
pub mod header_name;
pub mod issuer;
pub mod mapping;
pub mod metric;
pub mod origin;
pub mod outage;
pub mod pace;
pub mod platform_host;
pub mod policy;
pub mod reason;
pub mod resources;
mod section;
pub mod state;
pub mod strict_json;
pub mod template;

pub use decision::{Decision, Permit, Refusal, Told};
pub use reason::Reason;
