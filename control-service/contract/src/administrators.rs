//! Who has a token of the platform API, as administrators manage them.

use portcullis_control_domain::administrator::Administrator;
use portcullis_control_domain::caller::{InvalidRole, Role, RoleName, RoleParts};
use portcullis_control_domain::schema;
use portcullis_identity::ids::{ClusterId, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Invalid, ShownOnce, end};

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
    /// When the token ends, seconds since the Unix epoch. `until_s`: when it has to at the latest.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn end(&self, now_ms: u64, until_s: Option<u64>) -> Result<Option<u64>, Invalid> {
        let wanted = end(self.expires_in_s, now_ms)?;
        if wanted.zip(until_s).is_some_and(|(wanted, until)| wanted > until) {
            return Err(Invalid(
                "expires_in_s: what a person makes lives 90 days at most, and what a token of a person's makes no longer than that token; write less, or leave it out",
            ));
        }
        Ok(wanted.or(until_s))
    }

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

/// How a token is revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdministratorRevocation {
    /// Whether all that it made ends, too, and what that made.
    pub with_made: bool,
}

/// An administrator who was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdministratorRevoked {
    /// The administrator.
    pub administrator: Administrator,
    /// The ids of those that ended with it, because it made them.
    #[serde(default)]
    pub made: Vec<String>,
}
