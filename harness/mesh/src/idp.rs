//! A sample identity provider: keys made at start, served as a JWKS, and tokens with any claims.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::{MeshError, Result};

/// `iss` of the sample provider's tokens.
pub const ISSUER: &str = "https://login.alfred-platform.example.com/";

/// The audience that the platform asks for.
pub const AUDIENCE: &str = "https://api.alfred-platform.example.com/";

/// With which algorithm a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// A sample identity provider with one key per algorithm.
pub struct Idp {
    rsa: RS256KeyPair,
    ec: ES256KeyPair,
    ed: Ed25519KeyPair,
}

impl Idp {
    /// Makes fresh keys.
    ///
    /// # Errors
    /// When the RSA key cannot be made.
    pub fn new() -> Result<Self> {
        let rsa = RS256KeyPair::generate(2048).map_err(|error| token_error("an RSA key", &error))?;
        Ok(Self {
            rsa: rsa.with_key_id("sample-rs256"),
            ec: ES256KeyPair::generate().with_key_id("sample-es256"),
            ed: Ed25519KeyPair::generate().with_key_id("sample-eddsa"),
        })
    }

    /// The public keys (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let rsa = self.rsa.public_key().to_components();
        // An uncompressed point: 0x04, x, y (SEC 1 §2.3.3).
        let point = self.ec.public_key().public_key().to_bytes_uncompressed();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
        json!({"keys": [
            {"kty": "RSA", "kid": "sample-rs256", "use": "sig", "alg": "RS256", "n": text(&rsa.n), "e": text(&rsa.e)},
            {"kty": "EC", "kid": "sample-es256", "use": "sig", "alg": "ES256", "crv": "P-256", "x": text(x), "y": text(y)},
            {"kty": "OKP", "kid": "sample-eddsa", "use": "sig", "alg": "EdDSA", "crv": "Ed25519",
                "x": text(&self.ed.public_key().to_bytes())},
        ]})
    }

    /// Signs exactly these claims.
    ///
    /// # Errors
    /// When the claims cannot be signed.
    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String> {
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
        let signed = match algorithm {
            Algorithm::Rs256 => self.rsa.sign(claims),
            Algorithm::Es256 => self.ec.sign(claims),
            Algorithm::EdDsa => self.ed.sign(claims),
        };
        signed.map_err(|error| token_error("a token", &error))
    }
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

/// Serves a key set at `/jwks.json` until the task is dropped.
///
/// # Errors
/// When the address is in use.
pub async fn serve(jwks: Value, address: SocketAddr) -> Result<JoinHandle<()>> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|_| crate::port::busy(address, "the sample identity provider"))?;
    let router = Router::new().route("/jwks.json", get(move || std::future::ready(Json(jwks.clone()))));
    Ok(tokio::spawn(async move {
        // It ends when the task is dropped.
        let _ = axum::serve(listener, router).await;
    }))
}

fn token_error(what: &str, error: &jwt_simple::Error) -> MeshError {
    MeshError::Token { what: what.to_owned(), reason: error.to_string() }
}
