//! By whose word a token of the platform API is good.

use std::collections::BTreeSet;

use portcullis_identity::ids::{IssuerId, TenantId};
use portcullis_model::claims::Claims;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// A person, as their identity provider names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// The tenant by which revocations name them.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// Who issued their token.
    pub issuer: String,
    /// What that issuer calls them.
    pub subject: String,
}

/// The person who made a token of the platform API, or who made the token that did, and so on. The token ends with what
/// ends them: it must be worth no more than the word of whoever gave it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voucher {
    /// Who it is.
    pub person: Person,
    /// The issuer, by its name in the configuration.
    pub configured: IssuerId,
    /// Whatever of these is revoked would have ended the credential by which they called.
    pub revoked_by: Vec<String>,
    /// Those of their claims that the rules of the time looked at, whichever gave them the role.
    pub claims: Claims,
    /// Where those stand in a token, also those that theirs did not have.
    #[serde(default)]
    pub looked_at: BTreeSet<Vec<String>>,
}

impl Voucher {
    /// Whether one of these names ends it.
    pub fn ends_with<'a>(&self, revoked: impl IntoIterator<Item = &'a String>) -> bool {
        revoked.into_iter().any(|name| self.revoked_by.contains(name))
    }
}
