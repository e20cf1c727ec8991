//! Revocations of tokens, subjects, keys and clients.

use serde::{Deserialize, Serialize};

/// Tokens that a client or a key led to live no longer than this: after it their revocation has nothing left
/// to refuse.
const TOKENS_S: u64 = 3600;

/// Something that is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// `jti:…`, `sub:…`, `sid:…`, `kid:…` or `client:…`.
    pub name: String,
    /// Why, for people.
    pub note: String,
    /// Since when, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it has nothing left to refuse and is removed, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
}

impl Revocation {
    /// Ends the tokens that an API key led to. Gateways drop the key itself; sidecars know only those tokens.
    #[must_use]
    pub fn of_api_key(id: &str, now_ms: u64) -> Self {
        Self::of_tokens(["kid:", id].concat(), "the API key was revoked", now_ms)
    }

    /// Ends every token that a client of the token endpoint got.
    #[must_use]
    pub fn of_service_client(id: &str, now_ms: u64) -> Self {
        Self::of_tokens(["client:", id].concat(), "the service client was revoked", now_ms)
    }

    /// What its name stands for gets no new tokens, so the revocation ends with the last of the old ones.
    fn of_tokens(name: String, note: &str, now_ms: u64) -> Self {
        let expires_at_s = Some(now_ms / 1000 + TOKENS_S);
        Self { name, note: note.to_owned(), created_at_ms: now_ms, expires_at_s }
    }
}

/// Whether something that is revoked can be told of a credential that a sidecar sees: an identity token names
/// subject, session, key and client of the credential behind it, and not its token id.
#[must_use]
pub fn reaches_sidecars(name: &str) -> bool {
    !name.starts_with("jti:")
}
