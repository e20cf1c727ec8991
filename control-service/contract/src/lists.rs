use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    /// The last name of the page before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// Entries at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

/// A page of what tenants own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantListQuery {
    /// Only this tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The last id of the page before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// Entries at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

/// How many entries of a list are wanted.
///
/// # Errors
/// [`Invalid`] when there are none, or too many.
pub fn limit(wanted: Option<usize>) -> Result<usize, Invalid> {
    match wanted.unwrap_or(100) {
        n @ 1..=1000 => Ok(n),
        _ => Err(Invalid("limit: must be from 1 to 1000")),
    }
}
