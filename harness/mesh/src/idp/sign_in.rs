//! The sample provider as an authorization server: metadata (RFC 8414), registration (RFC 7591), a person who always
//! agrees, codes with PKCE (RFC 7636), refreshing.

use std::collections::HashMap;

use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::served::{ISSUER, Served, claims, sign};
use crate::sample::{CLIENT_AGENTS, TENANT};

/// Who signs in.
pub const PERSON: &str = "ann@acme.example";

/// How long an access token is good, in seconds.
const LIVES_S: u64 = 300;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/register", post(register))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
}

impl Served {
    /// What clients have asked the authorization server for, in order.
    #[must_use]
    pub fn sign_ins(&self) -> Vec<String> {
        self.read().sign_in.log.clone()
    }

    fn note(&self, what: String) {
        self.write().sign_in.log.push(what);
    }

    /// Tokens for a scope.
    fn tokens(&self, scope: &str) -> Response {
        let extra = json!({"client_id": CLIENT_AGENTS, "scope": scope});
        let all = claims(PERSON, TENANT, &extra);
        let Some(Ok(token)) =
            self.read().sign_in.key.as_ref().map(|key| sign(|claims| key.sign(claims), &all))
        else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let again = URL_SAFE_NO_PAD.encode(scope);
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": LIVES_S, "scope": scope,
            "refresh_token": format!("again.{again}")});
        ([("cache-control", "no-store")], Json(body)).into_response()
    }
}

async fn metadata() -> Json<Value> {
    let at = |path: &str| [ISSUER, path].concat();
    Json(json!({"issuer": ISSUER, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "registration_endpoint": at("register"), "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": true}))
}

async fn register(State(served): State<Served>, Json(mut client): Json<Value>) -> impl IntoResponse {
    served.note("registered".to_owned());
    client["client_id"] = CLIENT_AGENTS.into();
    (StatusCode::CREATED, Json(client))
}

async fn authorize(State(served): State<Served>, Query(asked): Query<HashMap<String, String>>) -> Response {
    let of = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let is_asked = of("code_challenge_method") == "S256" && !of("code_challenge").is_empty();
    if !is_asked || of("client_id") != CLIENT_AGENTS || !of("redirect_uri").starts_with("http://localhost") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    served.note(format!("signed in for {:?} of {}", of("scope"), of("resource")));
    let issuer: String = ISSUER.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let state = asked.get("state").map(|state| format!("&state={state}")).unwrap_or_default();
    let mut content = served.write();
    let code = format!("code-{}", content.sign_in.codes.len());
    let back = format!("{}?code={code}{state}&iss={issuer}", of("redirect_uri"));
    content.sign_in.codes.insert(code, asked);
    (StatusCode::FOUND, [("location", back)]).into_response()
}

async fn token(State(served): State<Served>, Form(asked): Form<HashMap<String, String>>) -> Response {
    let of = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    if let Some(again) = of("refresh_token").strip_prefix("again.") {
        let scope = URL_SAFE_NO_PAD.decode(again).unwrap_or_default();
        let scope = String::from_utf8_lossy(&scope);
        served.note(format!("refreshed for {scope:?}"));
        return served.tokens(&scope);
    }
    // A code is good once.
    let code = served.write().sign_in.codes.insert(of("code").to_owned(), HashMap::new()).unwrap_or_default();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(of("code_verifier")));
    if code.get("code_challenge") != Some(&challenge)
        || code.get("redirect_uri").map(String::as_str) != Some(of("redirect_uri"))
    {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    }
    served.tokens(code.get("scope").map(String::as_str).unwrap_or_default())
}
