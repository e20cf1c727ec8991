//! Clients of the token endpoint. Their secrets are nowhere but with their holders.

use portcullis_identity::ids::{ClientId, Role, Scope, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::schema;

/// Longest lifetime of a service token in seconds.
pub const MAX_SERVICE_TOKEN_S: u32 = 900;

/// A client to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewServiceClient {
    /// Its id.
    pub id: ClientId,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Roles of its tokens.
    pub roles: Vec<Role>,
    /// Scopes that it may ask for.
    pub scopes: Vec<Scope>,
    /// Audiences that it may ask for.
    pub audiences: Vec<String>,
    /// Whether it may exchange somebody's token for one in which it acts for them.
    pub may_exchange: bool,
    /// Lifetime of its tokens in seconds.
    pub lifetime_s: u32,
}

/// A client as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceClient {
    /// Its id.
    pub id: String,
    /// The tenant it belongs to.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// Roles of its tokens.
    pub roles: Vec<String>,
    /// Scopes that it may ask for.
    pub scopes: Vec<String>,
    /// Audiences that it may ask for.
    pub audiences: Vec<String>,
    /// Whether it may exchange somebody's token for one in which it acts for them.
    pub may_exchange: bool,
    /// Lifetime of its tokens in seconds.
    pub lifetime_s: u32,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Until when its previous secret is good, milliseconds since the Unix epoch.
    pub previous_until_ms: Option<u64>,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: Option<u64>,
}

/// One of a client's secrets: what names it, and its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSecret {
    /// What names it.
    pub id: String,
    /// SHA-256.
    pub digest: [u8; 32],
}

impl ServiceClient {
    /// A new client.
    #[must_use]
    pub fn made(new: NewServiceClient, now_ms: u64) -> Self {
        Self {
            id: new.id.into(),
            tenant: new.tenant,
            roles: new.roles.into_iter().map(Into::into).collect(),
            scopes: new.scopes.into_iter().map(Into::into).collect(),
            audiences: new.audiences,
            may_exchange: new.may_exchange,
            lifetime_s: new.lifetime_s,
            created_at_ms: now_ms,
            previous_until_ms: None,
            revoked_at_ms: None,
        }
    }

    /// Makes room for a new secret; the one before stays good for `overlap_ms`.
    ///
    /// # Errors
    /// [`Refused::ServiceClientRevoked`]: revocation is final.
    pub fn rotate(&mut self, overlap_ms: u64, now_ms: u64) -> Result<(), Refused> {
        if self.revoked_at_ms.is_some() {
            return Err(Refused::ServiceClientRevoked);
        }
        self.previous_until_ms = Some(now_ms.saturating_add(overlap_ms));
        Ok(())
    }

    /// Revokes it; false when it was revoked before.
    pub fn revoke(&mut self, now_ms: u64) -> bool {
        let first = self.revoked_at_ms.is_none();
        self.revoked_at_ms.get_or_insert(now_ms);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_client_gets_no_new_secret() {
        let new = NewServiceClient {
            id: ClientId::new("svc-a").unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            roles: Vec::new(),
            scopes: Vec::new(),
            audiences: Vec::new(),
            may_exchange: false,
            lifetime_s: 60,
        };
        let mut client = ServiceClient::made(new, 1);
        client.rotate(500, 1000).unwrap();
        assert_eq!(client.previous_until_ms, Some(1500));
        assert!(client.revoke(2000) && !client.revoke(3000));
        assert_eq!(client.rotate(0, 4000), Err(Refused::ServiceClientRevoked));
        assert_eq!((client.previous_until_ms, client.revoked_at_ms), (Some(1500), Some(2000)));
    }
}
