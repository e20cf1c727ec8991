//! Workloads: the SPIFFE id of the mutual-TLS peer as a credential.

use portcullis_identity::ids::Subject;
use portcullis_identity::{CredentialKind, Principal, SpiffeId};
use portcullis_model::Reason;
use portcullis_model::state::SnapshotState;
use serde_json::Map;

use crate::credential::Verified;

/// Looks up what the peer may do. The proxy has verified its certificate before anything else happened.
///
/// # Errors
/// [`Reason::WorkloadUnknown`] for one that the policy does not name, [`Reason::ClaimInvalid`] for an id
/// that is too long to be a subject.
pub fn verify(peer: &SpiffeId, snapshot: &SnapshotState) -> Result<Verified, Reason> {
    let entry = snapshot.workload(peer).ok_or(Reason::WorkloadUnknown)?;
    let principal = Principal {
        subject: Subject::new(peer.as_str()).map_err(|_| Reason::ClaimInvalid)?,
        tenant: entry.tenant.clone(),
        roles: entry.roles.clone().into(),
        scopes: entry.scopes.clone().into(),
        credential: CredentialKind::Workload,
        key_id: None,
        issuer: None,
        client_id: None,
        spiffe_id: Some(peer.clone()),
        actors: Vec::new(),
        expires_at: u64::MAX,
        token_id: None,
        session_id: None,
        derived_from: Vec::new(),
        omitted: 0,
        roles_incomplete: false,
    };
    Ok(Verified { principal, claims: Map::new(), source_type: None, key: None })
}
