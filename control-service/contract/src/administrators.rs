//! Who has a token of the platform API, as administrators manage them.

use portcullis_control_domain::administrator::Administrator;
use portcullis_control_domain::caller::{InvalidRole, Role, RoleName, RoleParts};
use portcullis_control_domain::schema;
use portcullis_identity::ids::{ClusterId, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ShownOnce;

/// Makes somebody a token of the platform API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdministratorCreation {
    /// What it may do; without it, everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// The tenant that the role is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::TenantId>")]
    pub tenant: Option<TenantId>,
    /// The cluster that the role is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::ClusterId>")]
    pub cluster: Option<ClusterId>,
    /// Seconds until the token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = crate::MAX_LIFE_S))]
    pub expires_in_s: Option<u64>,
}

impl AdministratorCreation {
    /// The role, with its bounds.
    ///
    /// # Errors
    /// [`InvalidRole`] when they do not go together.
    pub fn role(&self) -> Result<Role, InvalidRole> {
        let role = self.role.unwrap_or(RoleName::Administrator);
        RoleParts { role, tenant: self.tenant.clone(), cluster: self.cluster.clone() }.try_into()
    }
}

/// A new administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdministratorCreated {
    /// The administrator.
    pub administrator: Administrator,
    /// The token.
    pub token: ShownOnce,
}

/// A page of administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdministratorList {
    /// The administrators, in the order of their ids.
    pub administrators: Vec<Administrator>,
    /// Where to go on.
    pub next: Option<String>,
}

/// An administrator who was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdministratorRevoked {
    /// The administrator.
    pub administrator: Administrator,
}
