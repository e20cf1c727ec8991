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

pub mod api_key;
mod closed_list;
mod cross_site;
pub mod der;
mod flow;
pub mod forwarded_headers;
pub mod introspection;
pub mod judge;
pub mod jws;
pub mod jwt;
pub mod keys;
pub mod locations;
mod metadata;
pub mod presented;
pub mod shared_secret;
mod stage;
pub mod strict_json;
pub mod workload;

use portcullis_identity::ids::Subject;
use portcullis_identity::{CredentialKind, Principal, SourceType};
use portcullis_model::claims::Claims;
use portcullis_model::policy::SourceRulesDocument;
use portcullis_model::state::SnapshotState;

pub use keys::{KeyRing, NativeVerify};
pub use presented::{Credential, Presented, TokenLocation};
pub use stage::{Authenticate, Recognise};

/// The name of this crate's stages.
const STAGE: &str = "authn";

/// Tells the source type of what was verified; `None` where no rule fits. The rules are the source-type
/// stage's, and are asked while the claims are at hand: they are not kept.
pub type Classify = fn(&SourceRulesDocument, &Principal, &Claims) -> Option<SourceType>;

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
    pub source_type: Option<SourceType>,
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
