//! Clients of the token endpoint, as administrators manage them.

use portcullis_control_domain::client::{MAX_SERVICE_TOKEN_S, NewServiceClient, ServiceClient};
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_domain::schema;
use portcullis_identity::ids::{ClientId, Role, Scope, TenantId};
use portcullis_model::grants::Grants;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keys::MAX_GRANTS;
use crate::{Invalid, ShownOnce};

/// What every client's id begins with, so that none is ever that of a client of another issuer.
const PREFIX: &str = "svc-";

/// Makes a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCreation {
    /// Its id.
    #[schemars(with = "schema::ServiceClientId")]
    pub id: ClientId,
    /// The tenant it belongs to.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// Roles of its tokens.
    #[serde(default)]
    #[schemars(with = "Vec<schema::RoleOfCredential>")]
    pub roles: Grants<Role>,
    /// Scopes that it may ask for.
    #[serde(default)]
    #[schemars(with = "Vec<schema::Scope>")]
    pub scopes: Grants<Scope>,
    /// Audiences that it may ask for; without any, those that gateways accept.
    #[serde(default)]
    #[schemars(with = "Vec<schema::Audience>", length(max = 16))]
    pub audiences: Vec<String>,
    /// Whether it may exchange somebody's token for one in which it acts for them.
    #[serde(default)]
    pub may_exchange: bool,
    /// Lifetime of its tokens in seconds; without it, the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 30, max = MAX_SERVICE_TOKEN_S))]
    pub lifetime_s: Option<u32>,
}

impl ClientCreation {
    /// The client to be made. `lifetime_s` and `audiences` are the service's own.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self, lifetime_s: u32, audiences: &[String]) -> Result<NewServiceClient, Invalid> {
        let name = self.id.as_str().strip_prefix(PREFIX).unwrap_or_default();
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=60).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(Invalid("id: write svc- and 1 to 60 characters of a-z, 0-9 and '-'"));
        }
        if self.roles.len() > MAX_GRANTS || self.scopes.len() > MAX_GRANTS || self.audiences.len() > 16 {
            return Err(Invalid("roles, scopes, audiences: at most 64, 64 and 16"));
        }
        let audience = |a: &String| (1..=255).contains(&a.len()) && a.bytes().all(|b| b.is_ascii_graphic());
        if !self.audiences.iter().all(audience) {
            return Err(Invalid("audiences: use 1 to 255 visible ASCII characters"));
        }
        let lifetime_s = self.lifetime_s.unwrap_or(lifetime_s);
        if !(30..=MAX_SERVICE_TOKEN_S).contains(&lifetime_s) {
            return Err(Invalid("lifetime_s: must be from 30 to 900 seconds"));
        }
        let audiences = if self.audiences.is_empty() { audiences.to_vec() } else { self.audiences };
        Ok(NewServiceClient {
            id: self.id,
            tenant: self.tenant,
            roles: self.roles.into(),
            scopes: self.scopes.into(),
            audiences,
            may_exchange: self.may_exchange,
            lifetime_s,
        })
    }
}

/// A client with a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientWithSecret {
    /// The client.
    pub service_client: ServiceClient,
    /// Its secret.
    pub client_secret: ShownOnce,
}

/// Gives a client a new secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientRotation {
    /// Seconds for which the old secret stays good.
    #[schemars(range(max = crate::MAX_OVERLAP_S))]
    pub overlap_s: u64,
}

/// A client that was revoked, and how far that has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientRevoked {
    /// The client.
    pub service_client: ServiceClient,
    /// Who has the change.
    #[serde(flatten)]
    pub progress: RolloutProgress,
}

/// A page of clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientList {
    /// The clients, in the order of their ids.
    pub service_clients: Vec<ServiceClient>,
    /// Where to go on.
    pub next: Option<String>,
}
