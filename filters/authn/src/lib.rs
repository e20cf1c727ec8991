//! The authentication stage: which credential a request carries, whether it is good, and for whom it
//! speaks.
//!
//! Exactly one credential is accepted. What decides about a token (issuer, key, algorithm) is taken from
//! the operator's policy in the snapshot, never from the token: the token only selects among it.

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

pub mod api_key;
pub mod der;
pub mod introspection;
pub mod judge;
pub mod jws;
pub mod jwt;
pub mod keys;
pub mod places;
pub mod presented;
pub mod shared_secret;
pub mod strict_json;
pub mod workload;

use portcullis_identity::ids::Subject;
use portcullis_identity::{CredentialKind, Principal};
use portcullis_model::claims::Claims;
use portcullis_model::state::SnapshotState;

pub use keys::{KeyRing, NativeVerify};
pub use presented::{Credential, Place, Presented};

/// The longest credential that is read, in bytes.
pub const MAX_CREDENTIAL_LEN: usize = 8192;

/// What a good credential says.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The principal.
    pub principal: Principal,
    /// All claims of a token, for the source rules; empty for an API key.
    pub claims: Claims,
    /// The source type, where the credential itself fixes it (an API key).
    pub source_type: Option<portcullis_identity::SourceType>,
}

/// Whether a principal's credential has been revoked: by token id, session, key or client, or by the subject
/// that it speaks for or that acts for it. An exchanged service token ends with each of the tokens that led to
/// it.
#[must_use]
pub fn is_revoked(principal: &Principal, snapshot: &SnapshotState) -> bool {
    if !snapshot.has_revocations() {
        return false;
    }
    let named = |kind: &str, value: &str| snapshot.is_revoked(&format!("{kind}:{value}"));
    // Who got a service token from the control service is a client of it, under the same name as subject and
    // as actor; of other issuers' subjects that is not so.
    let own = principal.credential == CredentialKind::ServiceToken;
    let is_client = |subject: &Subject| own && named("client", subject.as_str());
    named("sub", principal.subject.as_str())
        || is_client(&principal.subject)
        || principal.actors.iter().any(is_client)
        || principal.derived_from.iter().any(|name| snapshot.is_revoked(name))
        || principal.actors.iter().any(|actor| named("sub", actor.as_str()))
        || principal.session_id.as_deref().is_some_and(|id| named("sid", id))
        || principal.token_id.as_deref().is_some_and(|id| named("jti", id))
        || principal.key_id.as_ref().is_some_and(|id| named("kid", id.as_str()))
        || principal.client_id.as_ref().is_some_and(|id| named("client", id.as_str()))
}
