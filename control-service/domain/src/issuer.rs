//! What is kept and told of the issuers of credentials.

use portcullis_model::policy::Jwks;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The keys fetched last from an issuer.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredKeys {
    /// `iss`.
    pub issuer: String,
    /// The URL they came from.
    pub source: String,
    /// The keys.
    pub jwks: Jwks,
    /// When they were fetched, milliseconds since the Unix epoch.
    pub fetched_at_ms: u64,
}

/// Whether keys are as their issuer has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Written in the configuration.
    Configured,
    /// The last fetch was good.
    Fresh,
    /// The last fetch failed; the last good keys are in use.
    Stale,
    /// The last good fetch is longer ago than `maxStaleSeconds`: every token of the issuer is refused.
    Expired,
    /// The last good answer held no key that can be used: every token of the issuer is refused.
    Empty,
    /// There was no good fetch yet: every token of the issuer is refused.
    Missing,
}

/// An issuer as the API and the metrics show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuerReport {
    /// `iss`.
    pub issuer: String,
    /// `jwks_uri`, `discovery`, `inline`, `hmac`, or `own` for the service's own tokens.
    pub source: String,
    /// What is fetched.
    pub url: Option<String>,
    /// Whether its keys are current.
    pub state: KeyState,
    /// Ids of the keys that are used.
    pub keys: Vec<String>,
    /// The keys that are used, those without an id included.
    pub key_count: usize,
    /// The last good fetch, milliseconds since the Unix epoch.
    pub fetched_at_ms: Option<u64>,
    /// Seconds since the last good fetch.
    pub age_s: Option<u64>,
    /// Good fetches since the start.
    pub fetched: u64,
    /// Failed fetches since the start.
    pub failed: u64,
    /// What the last fetch failed by, while the keys are stale or missing.
    pub last_error: Option<String>,
}

/// A key of an issuer that is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOutKey {
    /// `iss`.
    pub issuer: String,
    /// Its id, if it has one.
    pub kid: Option<String>,
    /// Why it is not used.
    pub reason: String,
}
