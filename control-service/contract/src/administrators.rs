//! Administrators, as they manage each other.

use portcullis_control_domain::administrator::Administrator;
use serde::{Deserialize, Serialize};

use crate::ShownOnce;

/// Makes an administrator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdministratorCreation {
    /// Seconds until the token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// A new administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdministratorCreated {
    /// The administrator.
    pub administrator: Administrator,
    /// The token.
    pub token: ShownOnce,
}

/// A page of administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdministratorList {
    /// The administrators, in the order of their ids.
    pub administrators: Vec<Administrator>,
    /// Where to go on.
    pub next: Option<String>,
}

/// An administrator who was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdministratorRevoked {
    /// The administrator.
    pub administrator: Administrator,
}
