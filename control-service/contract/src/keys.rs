//! API keys.

use portcullis_control_domain::api_key::{ApiKey, KeyRotation, NewApiKey};
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_domain::schema;
use portcullis_identity::SourceType;
use portcullis_identity::ids::{Role, Scope, Subject, TenantId};
use portcullis_model::grants::Grants;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Invalid, ShownOnce, end, overlap};

/// Roles or scopes of one key at most.
pub(crate) const MAX_GRANTS: usize = 64;

/// Makes a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyCreation {
    /// The tenant it belongs to.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// Whom it speaks for.
    #[schemars(with = "schema::Subject")]
    pub subject: Subject,
    /// What kind of caller holds it.
    #[schemars(with = "schema::SourceType")]
    pub source_type: SourceType,
    /// Roles.
    #[serde(default)]
    #[schemars(with = "Vec<schema::RoleOfCredential>")]
    pub roles: Grants<Role>,
    /// Scopes.
    #[serde(default)]
    #[schemars(with = "Vec<schema::Scope>")]
    pub scopes: Grants<Scope>,
    /// Seconds until it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = crate::MAX_LIFE_S))]
    pub expires_in_s: Option<u64>,
}

impl KeyCreation {
    /// The key to be made.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self, now_ms: u64) -> Result<NewApiKey, Invalid> {
        if self.roles.len() > MAX_GRANTS || self.scopes.len() > MAX_GRANTS {
            return Err(Invalid("roles, scopes: at most 64 of each"));
        }
        Ok(NewApiKey {
            tenant: self.tenant,
            subject: self.subject,
            source_type: self.source_type,
            roles: self.roles.into(),
            scopes: self.scopes.into(),
            expires_at_s: end(self.expires_in_s, now_ms)?,
        })
    }
}

/// A new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyCreated {
    /// What is known of it.
    pub api_key: ApiKey,
    /// The key itself.
    pub key: ShownOnce,
    /// The revision from which on filters know it.
    pub revision: u64,
}

/// Makes a key in the place of another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyRotationRequest {
    /// Seconds for which the old key stays good.
    #[schemars(range(max = crate::MAX_OVERLAP_S))]
    pub overlap_s: u64,
    /// Seconds until the new one ends; without it, it lives as long as the old one was made to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = crate::MAX_LIFE_S))]
    pub expires_in_s: Option<u64>,
}

impl KeyRotationRequest {
    /// How the key is to be replaced.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self, now_ms: u64) -> Result<KeyRotation, Invalid> {
        let overlap_s = overlap(self.overlap_s)?;
        Ok(KeyRotation { overlap_s, expires_at_s: end(self.expires_in_s, now_ms)? })
    }
}

/// A key that was replaced, and how far that has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRotated {
    /// The new key.
    pub api_key: ApiKey,
    /// The new key itself.
    pub key: ShownOnce,
    /// The old key.
    pub replaced: ApiKey,
    /// Who has the change.
    #[serde(flatten)]
    pub progress: RolloutProgress,
}

/// A page of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyList {
    /// The keys, in the order of their ids.
    pub api_keys: Vec<ApiKey>,
    /// Where to go on.
    pub next: Option<String>,
}

/// A key that was revoked, and how far that has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRevoked {
    /// The key.
    pub api_key: ApiKey,
    /// Who has the change.
    #[serde(flatten)]
    pub progress: RolloutProgress,
}
