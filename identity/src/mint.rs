//! Minting: what the gateway does.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_compact::{KeyPair, Seed};
use serde::Serialize;
use serde_json::{Value, json};

use crate::identity::Identity;
use crate::ids::{ClusterId, IssuerId, KeyId, Scope};
use crate::token::{MAX_LIFETIME_S, TOKEN_TYPE};

/// A minted token.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// The token in compact form (RFC 7515 §3.1).
    pub text: String,
    /// Its `exp`, seconds since the Unix epoch.
    pub expires_at: u64,
}

/// Signs identity tokens with one Ed25519 key.
pub struct Minter {
    keys: KeyPair,
    key_id: KeyId,
    issuer: String,
    lifetime_s: u32,
    header: String,
}

impl std::fmt::Debug for Minter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minter").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    tenant: &'a str,
    source_type: &'static str,
    credential: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    roles: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    roles_incomplete: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Value>,
}

impl Minter {
    /// A minter of a key. `lifetime_s` is bounded to 1–60 seconds.
    #[must_use]
    pub fn new(seed: [u8; 32], key_id: KeyId, issuer: &str, lifetime_s: u32) -> Self {
        let header = Header { alg: "EdDSA", typ: TOKEN_TYPE, kid: key_id.as_str() };
        Self {
            keys: KeyPair::from_seed(Seed::new(seed)),
            issuer: issuer.to_owned(),
            lifetime_s: lifetime_s.clamp(1, MAX_LIFETIME_S),
            header: encode(&header),
            key_id,
        }
    }

    /// The public key as a JSON Web Key Set (RFC 7517 §5, RFC 8037 §2).
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.key_id.as_str(),
            "x": URL_SAFE_NO_PAD.encode(*self.keys.pk),
        }]})
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        *self.keys.pk
    }

    /// Mints a token for one cluster. It ends no later than the credential behind it.
    #[must_use]
    pub fn mint(&self, identity: &Identity, cluster: &ClusterId, now_s: u64) -> Minted {
        let principal = &identity.principal;
        let expires_at = now_s.saturating_add(u64::from(self.lifetime_s)).min(principal.expires_at);
        let act = principal.actors.iter().rev().fold(None, |inner: Option<Value>, actor| {
            let mut level = serde_json::Map::new();
            level.insert("sub".to_owned(), actor.as_str().into());
            if let Some(inner) = inner {
                level.insert("act".to_owned(), inner);
            }
            Some(Value::Object(level))
        });
        let claims = Claims {
            iss: &self.issuer,
            sub: principal.subject.as_str(),
            aud: cluster.as_str(),
            iat: now_s,
            exp: expires_at,
            tenant: principal.tenant.as_str(),
            source_type: identity.source_type.as_str(),
            credential: principal.credential.as_str(),
            credential_issuer: principal.issuer.as_ref().map(IssuerId::as_str),
            key_id: principal.key_id.as_ref().map(KeyId::as_str),
            client_id: principal.client_id.as_ref().map(|c| c.as_str()),
            sid: principal.session_id.as_deref(),
            roles: principal.roles.iter().map(|r| r.as_str()).collect(),
            roles_incomplete: principal.roles_incomplete,
            scope: Scope::list(&principal.scopes),
            act,
        };
        let mut text = self.header.clone();
        text.push('.');
        text.push_str(&encode(&claims));
        let signature = self.keys.sk.sign(text.as_bytes(), None);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(*signature, &mut text);
        Minted { text, expires_at }
    }
}

/// Base64url of the value's JSON. The types that come here always serialise; were that to change, the
/// empty text would verify nowhere.
fn encode<T: Serialize>(value: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}
