//! What the sample provider serves, and how its tokens are signed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use jwt_simple::prelude::*;
use serde_json::{Value, json};

use crate::error::{MeshError, Result};

/// `iss` of the sample provider's tokens.
pub const ISSUER: &str = "https://login.alfred-platform.example.com/";

/// Another `iss` of the same provider: its name before it moved.
pub const ISSUER_BEFORE: &str = "https://sign-in.alfred-platform.example.com/";

/// The audience that the platform asks for.
pub const AUDIENCE: &str = "https://api.alfred-platform.example.com/";

/// What opaque tokens of the sample provider begin with.
pub const OPAQUE_PREFIX: &str = "sample_";

/// The control service's client id at the sample provider, and its secret there.
pub const CLIENT: (&str, &str) = ("portcullis", "sample-introspection-secret");

/// What the provider serves at present.
#[derive(Debug, Clone, Default)]
pub struct Served(Arc<RwLock<Content>>);

#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) jwks: Value,
    pub(super) opaque: HashMap<String, Value>,
    pub(super) down: bool,
    pub(super) sign_in: SignIn,
}

impl Served {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers nothing but 503 from now on, or works again.
    pub fn set_down(&self, down: bool) {
        self.write().down = down;
    }

    /// Makes an opaque token good for these claims.
    pub fn grant(&self, token: &str, claims: &Value) {
        self.write().opaque.insert(token.to_owned(), claims.clone());
    }
}

/// What is remembered of those who sign in.
#[derive(Debug, Default)]
pub(super) struct SignIn {
    /// By which the tokens are signed.
    pub(super) key: Option<Arc<ES256KeyPair>>,
    /// What was asked for with each code.
    pub(super) codes: HashMap<String, HashMap<String, String>>,
    pub(super) log: Vec<String>,
}

/// Signs exactly these claims by what a key does.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(
    by: impl FnOnce(JWTClaims<Value>) -> std::result::Result<String, jwt_simple::Error>,
    claims: &Value,
) -> Result<String> {
    let claims = JWTClaims {
        issued_at: None,
        expires_at: None,
        invalid_before: None,
        issuer: None,
        subject: None,
        audiences: None,
        jwt_id: None,
        nonce: None,
        custom: claims.clone(),
    };
    by(claims).map_err(|error| token_error("a token", &error))
}

/// Claims that the platform accepts for five minutes, with `extra` merged over them: a null removes a claim.
#[must_use]
pub fn claims(subject: &str, tenant: &str, extra: &Value) -> Value {
    let now = now_s();
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "tenant": tenant, "iat": now, "nbf": now,
        "exp": now + 300,
    });
    if let (Some(claims), Some(extra)) = (claims.as_object_mut(), extra.as_object()) {
        for (name, value) in extra {
            claims.insert(name.clone(), value.clone());
        }
        claims.retain(|_, value| !value.is_null());
    }
    claims
}

/// Seconds since the Unix epoch.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn token_error(what: &str, error: &jwt_simple::Error) -> MeshError {
    MeshError::Token { what: what.to_owned(), reason: error.to_string() }
}
