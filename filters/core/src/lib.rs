//! What Portcullis decides with: identities, policy, decisions, audit records and the snapshot that
//! carries policy from the control service to the filters.
//!
//! Nothing here knows of Proxy-Wasm, of tokio or of a clock: time and randomness are arguments, so that
//! every rule can be tested natively. The filters and the control service share these types; neither
//! keeps a copy of its own.

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
pub mod claims;
pub mod config;
pub mod decision;
pub mod edge;
pub mod fair;
pub mod identity;
pub mod ids;
pub mod pace;
pub mod secrets;
pub mod snapshot;
pub mod wire;

pub use decision::{Permit, Reason, Refusal};
pub use identity::{CredentialKind, Identity, SourceType};
pub use ids::{ClusterId, KeyId, SpiffeId, TenantId};
