//! Making a service token: a JSON Web Token in the form of RFC 9068.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_compact::{KeyPair, Seed};
use portcullis_control_domain::random::random;
use portcullis_control_domain::signing::SigningKey;
use portcullis_model::claims::{DERIVED_FROM, ROLES_INCOMPLETE};
use portcullis_protocol::audit::hex;
use serde_json::{Map, Value, json};

use super::grant::Grant;

/// A token as it goes out.
pub(super) struct Issued {
    /// The token.
    pub(super) text: String,
    /// Its `jti`, for the audit log and for revocation.
    pub(super) id: String,
    /// Seconds that it lives.
    pub(super) expires_in_s: u64,
}

/// Signs a token for a client.
#[must_use]
pub(super) fn issue(
    key: &SigningKey,
    issuer: &str,
    client: &str,
    grant: &Grant,
    lifetime_s: u64,
    now_s: u64,
) -> Issued {
    let id = hex(&random::<16>());
    let ends = now_s.saturating_add(lifetime_s).min(grant.ends_at_s);
    let mut claims = Map::new();
    let audience = match grant.audiences.as_slice() {
        [one] => json!(one),
        several => json!(several),
    };
    for (name, value) in [
        ("iss", json!(issuer)),
        ("sub", json!(grant.subject)),
        ("aud", audience),
        ("client_id", json!(client)),
        ("tenant", json!(grant.tenant)),
        ("roles", json!(grant.roles)),
        ("scope", json!(grant.scopes.join(" "))),
        ("iat", json!(now_s)),
        ("exp", json!(ends)),
        ("jti", json!(id)),
    ] {
        claims.insert(name.to_owned(), value);
    }
    if let Some(act) = nested(&grant.actors) {
        claims.insert("act".to_owned(), act);
    }
    if let Some(session) = &grant.session_id {
        claims.insert("sid".to_owned(), json!(session));
    }
    if !grant.derived_from.is_empty() {
        claims.insert(DERIVED_FROM.to_owned(), json!(grant.derived_from));
    }
    if grant.roles_incomplete {
        claims.insert(ROLES_INCOMPLETE.to_owned(), json!(true));
    }
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": key.kid});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = [encode(&header), encode(&Value::Object(claims))].join(".");
    let signature = KeyPair::from_seed(Seed::new(*key.seed)).sk.sign(signed.as_bytes(), None);
    let text = [signed.as_str(), &URL_SAFE_NO_PAD.encode(*signature)].join(".");
    Issued { text, id, expires_in_s: ends.saturating_sub(now_s) }
}

/// The chain of actors as RFC 8693 §4.1 nests it: the current one outermost.
fn nested(actors: &[String]) -> Option<Value> {
    actors.iter().rev().fold(None, |inner, actor| {
        let mut level = Map::new();
        level.insert("sub".to_owned(), json!(actor));
        if let Some(inner) = inner {
            level.insert("act".to_owned(), inner);
        }
        Some(Value::Object(level))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_are_nested_the_current_one_outermost() {
        assert_eq!(nested(&[]), None);
        let chain = ["a".to_owned(), "b".to_owned()];
        assert_eq!(nested(&chain), Some(json!({"sub": "a", "act": {"sub": "b"}})));
    }
}
