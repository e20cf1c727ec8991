//! A sample identity provider: keys that may change, served as a JWKS, tokens with any claims, opaque tokens with an
//! introspection endpoint, and an authorization server at which a person signs in.

mod listen;
mod served;
mod sign_in;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::listen::TlsListener;
use self::served::token_error;
pub use self::served::{AUDIENCE, CLIENT, ISSUER, ISSUER_BEFORE, OPAQUE_PREFIX, Served, claims, now_s, sign};
pub use self::sign_in::PERSON;
use crate::error::Result;
use crate::pki::Leaf;

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
    ec: Arc<ES256KeyPair>,
    ec_id: String,
    /// The key before this one, still published, and its name.
    ec_before: Option<(Arc<ES256KeyPair>, String)>,
    ed: Ed25519KeyPair,
    served: Served,
}

impl Idp {
    /// Makes fresh keys.
    ///
    /// # Errors
    /// When the RSA key cannot be made.
    pub fn new() -> Result<Self> {
        let rsa = RS256KeyPair::generate(2048).map_err(|error| token_error("an RSA key", &error))?;
        let ec_id = "sample-es256".to_owned();
        let idp = Self {
            rsa: rsa.with_key_id("sample-rs256"),
            ec: Arc::new(ES256KeyPair::generate().with_key_id(&ec_id)),
            ec_id,
            ec_before: None,
            ed: Ed25519KeyPair::generate().with_key_id("sample-eddsa"),
            served: Served::default(),
        };
        idp.publish();
        Ok(idp)
    }

    /// What it serves, for [`serve`] and for changes while it runs.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// Replaces the ES256 key by a new one of this name, and forgets the old one at once: harder on those who
    /// verify than any provider should be.
    pub fn rotate(&mut self, key_id: &str) {
        self.rotate_gently(key_id);
        self.withdraw_key();
    }

    /// Signs with a new ES256 key of this name from now on, and goes on publishing the old one.
    pub fn rotate_gently(&mut self, key_id: &str) {
        let new = Arc::new(ES256KeyPair::generate().with_key_id(key_id));
        let old = std::mem::replace(&mut self.ec, new);
        self.ec_before = Some((old, std::mem::replace(&mut self.ec_id, key_id.to_owned())));
        self.publish();
    }

    /// No longer publishes the key before the present one.
    pub fn withdraw_key(&mut self) {
        self.ec_before = None;
        self.publish();
    }

    fn publish(&self) {
        let mut content = self.served.write();
        content.jwks = self.jwks();
        content.sign_in.key = Some(Arc::clone(&self.ec));
    }

    /// The public keys (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let rsa = self.rsa.public_key().to_components();
        let mut keys = vec![
            json!({"kty": "RSA", "kid": "sample-rs256", "use": "sig", "alg": "RS256", "n": text(&rsa.n), "e": text(&rsa.e)}),
            json!({"kty": "OKP", "kid": "sample-eddsa", "use": "sig", "alg": "EdDSA", "crv": "Ed25519",
                "x": text(&self.ed.public_key().to_bytes())}),
        ];
        let before = self.ec_before.iter().map(|(key, id)| (key, id));
        keys.extend(before.chain([(&self.ec, &self.ec_id)]).map(|(key, id)| {
            // An uncompressed point: 0x04, x, y (SEC 1 §2.3.3).
            let point = key.public_key().public_key().to_bytes_uncompressed();
            let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
            json!({"kty": "EC", "kid": id, "use": "sig", "alg": "ES256", "crv": "P-256", "x": text(x), "y": text(y)})
        }));
        json!({ "keys": keys })
    }

    /// Signs exactly these claims.
    ///
    /// # Errors
    /// When the claims cannot be signed.
    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String> {
        match algorithm {
            Algorithm::Rs256 => sign(|claims| self.rsa.sign(claims), claims),
            Algorithm::Es256 => sign(|claims| self.ec.sign(claims), claims),
            Algorithm::EdDsa => sign(|claims| self.ed.sign(claims), claims),
        }
    }
}

/// Serves key set (`/jwks.json`) and introspection (`/introspect`, RFC 7662) until the task is dropped.
///
/// # Errors
/// When the address is in use.
pub async fn serve(served: Served, address: SocketAddr) -> Result<JoinHandle<()>> {
    let listener = bind(address).await?;
    let router = Router::new()
        .route("/jwks.json", get(key_set))
        .route("/introspect", post(introspect))
        .with_state(served);
    Ok(tokio::spawn(async move {
        // It ends when the task is dropped.
        let _ = axum::serve(listener, router).await;
    }))
}

/// Serves the authorization server over TLS until the task is dropped.
///
/// # Errors
/// When the address is in use, or the certificate cannot be used.
pub async fn serve_sign_in(served: Served, address: SocketAddr, leaf: &Leaf) -> Result<JoinHandle<()>> {
    let listener = TlsListener::new(bind(address).await?, leaf)?;
    let router = sign_in::routes().with_state(served);
    Ok(tokio::spawn(async move {
        // It ends when the task is dropped.
        let _ = axum::serve(listener, router).await;
    }))
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|_| crate::port::busy(address, "the sample identity provider"))
}

async fn key_set(State(served): State<Served>) -> Response {
    let content = served.read();
    if content.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(content.jwks.clone()).into_response()
}

async fn introspect(State(served): State<Served>, headers: HeaderMap, body: Bytes) -> Response {
    let content = served.read();
    if content.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let pair = base64::engine::general_purpose::STANDARD.encode([CLIENT.0, CLIENT.1].join(":"));
    let authorized = headers.get("authorization").is_some_and(|value| *value == *format!("Basic {pair}"));
    if !authorized {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    // The sample tokens hold nothing that a form would encode.
    let body = String::from_utf8_lossy(&body);
    let token = body.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
    let inactive = json!({"active": false});
    Json(content.opaque.get(token).cloned().unwrap_or(inactive)).into_response()
}
