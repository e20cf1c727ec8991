//! The authentication stage: which credential a request carries, whether it is good, and for whom it
//! speaks.
//!
//! Exactly one credential is accepted. What decides about a token (issuer, key, algorithm) is taken from
//! the operator's policy in the snapshot, never from the token: the token only selects among it.
//!
//! The flow stands in `flow`, what it decides by in the modules beside it: [`presented`] and [`places`] find
//! the credential, [`jwt`], [`api_key`], [`introspection`] and [`workload`] judge it.

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

mod again;
pub mod api_key;
mod credential;
mod cross_site;
pub mod der;
mod flow;
pub mod forwarded_headers;
pub mod introspection;
pub mod judge;
pub mod jwk;
pub mod jws;
pub mod jwt;
pub mod key_set;
pub mod keys;
pub mod locations;
mod metadata;
pub mod presented;
mod providers;
mod rejected;
mod revocation;
pub mod shared_secret;
mod stage;
mod verifying_key;
pub mod workload;

pub use credential::{Classify, MAX_CREDENTIAL_LEN, Verified};
pub use keys::KeyRing;
pub use presented::{Credential, Presented, TokenLocation};
pub use rejected::{Rejected, Whose};
pub use revocation::{is_revoked, revocable_names};
pub use stage::{Authenticate, Recognise};
pub use verifying_key::{NativeVerify, PureRust, Signed};
