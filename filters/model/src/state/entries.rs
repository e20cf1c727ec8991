//! What the entries of a snapshot are to a reader, checked.

use std::sync::Arc;

use portcullis_identity::SourceType;
use portcullis_identity::ids::{InvalidId, KeyId, Role, Scope, Subject, TenantId};
use portcullis_protocol::wire;

use crate::decision::ClusterState;
use crate::grants::Grants;

/// A data cluster as a filter needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterEntry {
    /// Owner.
    pub tenant: Arc<TenantId>,
    /// State.
    pub state: ClusterState,
    /// The resync that touched it last.
    pub(super) epoch: u8,
}

/// What an API key grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyEntry {
    /// Public id.
    pub id: KeyId,
    /// Owner.
    pub tenant: TenantId,
    /// Whom it speaks for.
    pub subject: Subject,
    /// Source type, fixed when the key was made.
    pub source_type: SourceType,
    /// Roles.
    pub roles: Grants<Role>,
    /// Scopes.
    pub scopes: Grants<Scope>,
    /// End, seconds since the Unix epoch; `u64::MAX` for none.
    pub expires_at: u64,
}

/// Bytes that no log may show.
#[derive(PartialEq, Eq)]
pub struct Secret(pub(super) Box<[u8]>);

impl Secret {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The signer of identity tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct SignerEntry {
    /// `kid`.
    pub key_id: KeyId,
    /// Ed25519 seed.
    pub seed: [u8; 32],
    /// `iss`.
    pub issuer: String,
    /// Lifetime in seconds, 1–60.
    pub lifetime_s: u32,
}

impl std::fmt::Debug for SignerEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignerEntry").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Checks what a message says of an API key.
pub(super) fn api_key_entry(raw: &wire::ApiKey) -> Result<ApiKeyEntry, String> {
    let say = |e: InvalidId| e.to_string();
    Ok(ApiKeyEntry {
        id: KeyId::new(&raw.id).map_err(say)?,
        tenant: TenantId::new(&raw.tenant).map_err(say)?,
        subject: Subject::new(&raw.subject).map_err(say)?,
        source_type: SourceType::from_name(&raw.source_type)
            .ok_or_else(|| format!("unknown source type {:?}", raw.source_type))?,
        roles: raw.roles.iter().map(|r| Role::new(r)).collect::<Result<_, _>>().map_err(say)?,
        scopes: raw.scopes.iter().map(|s| Scope::new(s)).collect::<Result<_, _>>().map_err(say)?,
        expires_at: if raw.expires_at == 0 { u64::MAX } else { raw.expires_at },
    })
}
