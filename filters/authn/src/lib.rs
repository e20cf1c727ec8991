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
mod cross_site;
pub mod der;
mod flow;
pub mod forwarded_headers;
pub mod introspection;
pub mod judge;
pub mod jwk;
pub mod jws;
pub mod jwt;
pub mod keys;
pub mod locations;
mod metadata;
pub mod presented;
mod rejected;
pub mod shared_secret;
mod stage;
pub mod workload;

use portcullis_engine::cache::KeyDigest;
use portcullis_identity::ids::Subject;
use portcullis_identity::{CredentialKind, Principal, SourceType};
use portcullis_model::claims::{Claims, REVOKED_USER, read_user_name, user_name};
use portcullis_model::policy::SourceRulesDocument;
use portcullis_model::state::SnapshotState;

pub use keys::{KeyRing, NativeVerify};
pub use presented::{Credential, Presented, TokenLocation};
pub use rejected::{Rejected, Whose};
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
    /// The key that verified a token.
    pub key: Option<KeyDigest>,
}

/// Whether a principal's credential has been revoked: by token id, session, key or client, or by the subject
/// that it speaks for or that acts for it. An exchanged service token ends with each of the tokens that led to
/// it.
#[must_use]
pub fn is_revoked(principal: &Principal, snapshot: &SnapshotState) -> bool {
    snapshot.has_revocations()
        && any_revocable(principal, snapshot, &mut |kind, value| match kind {
            "" => snapshot.is_revoked(value),
            kind => snapshot.is_revoked(&format!("{kind}:{value}")),
        })
}

/// The names of all revocations that would end a principal's credential.
#[must_use]
pub fn revocable_names(principal: &Principal, snapshot: &SnapshotState) -> Vec<String> {
    let mut names = Vec::new();
    any_revocable(principal, snapshot, &mut |kind, value| {
        names.push(if kind.is_empty() { value.to_owned() } else { format!("{kind}:{value}") });
        false
    });
    names
}

/// Whether a test holds for anything by which the credential could be revoked: its kind and its value, or
/// a whole name with an empty kind.
fn any_revocable(
    principal: &Principal,
    snapshot: &SnapshotState,
    test: &mut dyn FnMut(&str, &str) -> bool,
) -> bool {
    // Who got a service token from the control service is a client of it, under the same name as subject and
    // as actor; of other issuers' subjects that is not so.
    let own = principal.credential == CredentialKind::ServiceToken;
    if any_user(principal, snapshot, test) {
        return true;
    }
    let mut subject =
        |subject: &Subject| test("sub", subject.as_str()) || (own && test("client", subject.as_str()));
    subject(&principal.subject)
        || principal.actors.iter().any(subject)
        || principal.derived_from.iter().any(|name| test("", name))
        || principal.session_id.as_deref().is_some_and(|id| test("sid", id))
        || principal.token_id.as_deref().is_some_and(|id| test("jti", id))
        || principal.key_id.as_ref().is_some_and(|id| test("kid", id.as_str()))
        || principal.client_id.as_ref().is_some_and(|id| test("client", id.as_str()))
}

/// Whether a test holds for a person: whom the credential speaks for, who acts, or from whose token it comes. An issuer
/// may be renamed, and a revocation is written by the name that somebody read, so every name of it counts.
fn any_user(
    principal: &Principal,
    snapshot: &SnapshotState,
    test: &mut dyn FnMut(&str, &str) -> bool,
) -> bool {
    let names = principal.issuer.as_ref().map(|issuer| snapshot.names_of_issuer(issuer));
    let issuers: Vec<_> = names.as_ref().map_or_else(|| vec![None], |names| names.iter().map(Some).collect());
    let mut person = |subject: &Subject| {
        issuers.iter().any(|issuer| test(REVOKED_USER, &user_name(&principal.tenant, *issuer, subject)))
    };
    if person(&principal.subject) || principal.actors.iter().any(person) {
        return true;
    }
    let users = principal.derived_from.iter().filter_map(|name| name.split_once(':'));
    let users = users.filter(|(kind, _)| *kind == REVOKED_USER).filter_map(|(_, name)| read_user_name(name));
    users.into_iter().any(|(tenant, issuer, subject)| {
        let names = snapshot.names_of_issuer(&issuer);
        names.iter().any(|issuer| test(REVOKED_USER, &user_name(&tenant, Some(issuer), &subject)))
    })
}
