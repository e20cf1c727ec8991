//! API keys, made by the control service and known to the filter by digest only.

use portcullis_identity::{CredentialKind, Principal};
use portcullis_model::Reason;
use portcullis_model::state::SnapshotState;
use portcullis_protocol::audit::keyed_hash;
use portcullis_protocol::secrets;
use serde_json::Map;

use crate::credential::Verified;
use crate::rejected::Rejected;

/// What every API key begins with, so that scanners find leaked ones.
pub const API_KEY_PREFIX: &[u8] = secrets::API_KEY.as_bytes();

/// Whether this is a secret that only the control service itself may get, and no credential at a gateway.
#[must_use]
pub fn is_secret_of_the_service(token: &[u8]) -> bool {
    let mut others = secrets::PREFIXES.into_iter().filter(|prefix| *prefix != secrets::API_KEY);
    others.any(|prefix| token.starts_with(prefix.as_bytes()))
}

/// Looks an API key up by its HMAC-SHA-256 digest.
///
/// The look-up is by a keyed digest, so its timing tells nothing about the key.
///
/// # Errors
/// [`Reason::ApiKeyUnknown`] for a key that is not known, [`Reason::TokenExpired`] for one that ended.
pub fn verify(key: &[u8], snapshot: &SnapshotState, now_s: u64) -> Result<Verified, Rejected> {
    of_digest(&digest(key, snapshot)?, snapshot, now_s)
}

/// The digest by which the snapshot knows a key.
///
/// # Errors
/// [`Reason::ApiKeyUnknown`] when the snapshot has no key for digests.
pub fn digest(key: &[u8], snapshot: &SnapshotState) -> Result<[u8; 32], Reason> {
    snapshot.pepper().map(|pepper| keyed_hash(pepper, key)).ok_or(Reason::ApiKeyUnknown)
}

/// Looks an API key up by its digest.
///
/// # Errors
/// As [`verify`].
pub fn of_digest(digest: &[u8; 32], snapshot: &SnapshotState, now_s: u64) -> Result<Verified, Rejected> {
    let entry = snapshot.api_key(digest).ok_or(Reason::ApiKeyUnknown)?;
    let principal = Principal {
        subject: entry.subject,
        tenant: entry.tenant,
        roles: entry.roles.into(),
        scopes: entry.scopes.into(),
        credential: CredentialKind::ApiKey,
        key_id: Some(entry.id),
        issuer: None,
        client_id: None,
        spiffe_id: None,
        actors: Vec::new(),
        expires_at: entry.expires_at,
        token_id: None,
        session_id: None,
        derived_from: Vec::new(),
        omitted: 0,
        roles_incomplete: false,
    };
    if principal.expires_at <= now_s {
        return Err(Rejected::of(Reason::TokenExpired, &principal));
    }
    Ok(Verified { principal, claims: Map::new(), source_type: Some(entry.source_type), key: None })
}
