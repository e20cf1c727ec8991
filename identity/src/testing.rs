//! Identities for the tests of Data APIs: mint with [`crate::Minter`] under a seed of your own, and give
//! your API a [`crate::Verifier`] with that minter's key set.
#![allow(clippy::expect_used, reason = "a test wants to stop at a name that is not valid")]

use crate::identity::{CredentialKind, Identity, Principal, SourceType};
use crate::ids::{Subject, TenantId};

/// A person with a JWT and no roles.
///
/// # Panics
/// When a name is not a valid subject or tenant.
#[must_use]
pub fn identity(subject: &str, tenant: &str) -> Identity {
    let principal = Principal {
        subject: Subject::new(subject).expect("a valid subject"),
        tenant: TenantId::new(tenant).expect("a valid tenant"),
        roles: Vec::new(),
        scopes: Vec::new(),
        credential: CredentialKind::Jwt,
        key_id: None,
        issuer: None,
        client_id: None,
        spiffe_id: None,
        actors: Vec::new(),
        expires_at: u64::MAX,
        token_id: None,
        session_id: None,
        derived_from: Vec::new(),
        omitted: 0,
        roles_incomplete: false,
    };
    Identity { principal, source_type: SourceType::Human }
}
