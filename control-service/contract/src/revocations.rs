//! Revocations.

use portcullis_control_domain::revocation::Revocation;
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_domain::schema;
use portcullis_identity::KeyId;
use portcullis_model::claims::{REVOKED_USER, is_revocable, is_user_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Revokes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRevocation {
    /// What is revoked.
    #[schemars(with = "schema::RevocationName")]
    pub name: String,
    /// Why, for people.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub note: String,
    /// Seconds until it has nothing left to refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = crate::MAX_LIFE_S))]
    pub expires_in_s: Option<u64>,
}

impl NewRevocation {
    /// Whether it names something that a filter could tell of a credential.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<Self, Invalid> {
        let known = |(kind, value): (&str, &str)| match kind {
            "kid" => KeyId::new(value).is_ok(),
            "jti" | "sub" | "sid" | "client" => is_revocable(value),
            REVOKED_USER => is_user_name(value),
            _ => false,
        };
        if self.name.split_once(':').is_some_and(known) && self.note.len() <= 1024 {
            return Ok(self);
        }
        Err(Invalid(
            "name: write jti:, sub:, sid:, kid: or client: and 1 to 255 visible ASCII characters, behind kid: any printable text, or user: and tenant, issuer (- where there is none) and subject with one space between; note: at most 1024 bytes",
        ))
    }
}

/// A revocation that was made or taken back, and how far that has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevocationChanged {
    /// The revocation.
    pub revocation: Revocation,
    /// Who has the change.
    #[serde(flatten)]
    pub progress: RolloutProgress,
}

/// Which revocation is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovalQuery {
    /// Its name.
    pub name: String,
}

/// A page of revocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevocationList {
    /// The revocations, in the order of their names.
    pub revocations: Vec<Revocation>,
    /// Where to go on.
    pub next: Option<String>,
}
