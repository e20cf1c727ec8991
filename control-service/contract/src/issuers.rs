//! How issuers' keys are doing, and the keys that this platform signs with.

use portcullis_control_domain::issuer::{IssuerReport, LeftOutKey};
use portcullis_control_domain::signing::{Purpose, SigningKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All issuers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuerList {
    /// The issuers, in the order of the configuration.
    pub issuers: Vec<IssuerReport>,
    /// Keys of theirs that are not used.
    pub left_out: Vec<LeftOutKey>,
}

/// How far a signing key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SigningKeyState {
    /// It is known, and does not sign yet.
    Published,
    /// It signs.
    Signs,
    /// It signs no more; its last tokens are still good.
    Ending,
}

/// A signing key as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SigningKeyReport {
    /// Its id.
    pub kid: String,
    /// What it signs.
    pub purpose: Purpose,
    /// How far it is.
    pub state: SigningKeyState,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Since when it signs.
    pub signs_from_ms: Option<u64>,
    /// Since when it signs no more.
    pub signs_until_ms: Option<u64>,
}

impl From<&SigningKey> for SigningKeyReport {
    fn from(key: &SigningKey) -> Self {
        let state = match (key.signs_from_ms, key.signs_until_ms) {
            (None, _) => SigningKeyState::Published,
            (Some(_), None) => SigningKeyState::Signs,
            (Some(_), Some(_)) => SigningKeyState::Ending,
        };
        Self {
            kid: key.kid.clone(),
            purpose: key.purpose,
            state,
            created_at_ms: key.created_at_ms,
            signs_from_ms: key.signs_from_ms,
            signs_until_ms: key.signs_until_ms,
        }
    }
}

/// All signing keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SigningKeyList {
    /// The keys, oldest first.
    pub signing_keys: Vec<SigningKeyReport>,
}

/// A change of key that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotationBegun {
    /// The new key.
    pub signing_key: SigningKeyReport,
}
