//! How issuers' keys are doing, and the keys that this platform signs with.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::issuer::{IssuerReport, LeftOutKey};
use portcullis_control_domain::signing::{Purpose, SigningKey};
use serde::Serialize;

use super::Service;
use super::oauth::key_set;
use super::problem::Problem;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/issuers", get(issuers))
        .route("/v1/signing-keys", get(signing_keys))
        .route("/v1/signing-keys/{purpose}", post(rotate))
}

/// Needs no credential: public keys.
pub(super) fn public_routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/identity/jwks", get(identity_keys))
}

async fn identity_keys(State(service): State<Arc<Service>>) -> impl IntoResponse {
    key_set(&service, Purpose::Identity)
}

#[derive(Serialize)]
struct IssuerList {
    issuers: Vec<IssuerReport>,
    left_out: Vec<LeftOutKey>,
}

async fn issuers(State(service): State<Arc<Service>>) -> Json<IssuerList> {
    let (issuers, left_out) = (service.issuers.report().await, service.issuers.left_out().await);
    Json(IssuerList { issuers, left_out })
}

/// A signing key as the API shows it.
#[derive(Serialize)]
struct Shown {
    kid: String,
    purpose: Purpose,
    /// `published`, `signs` or `ending`.
    state: &'static str,
    created_at_ms: u64,
    signs_from_ms: Option<u64>,
    signs_until_ms: Option<u64>,
}

impl From<&SigningKey> for Shown {
    fn from(key: &SigningKey) -> Self {
        let state = match (key.signs_from_ms, key.signs_until_ms) {
            (None, _) => "published",
            (Some(_), None) => "signs",
            (Some(_), Some(_)) => "ending",
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

#[derive(Serialize)]
struct KeyList {
    signing_keys: Vec<Shown>,
}

async fn signing_keys(State(service): State<Arc<Service>>) -> Json<KeyList> {
    Json(KeyList { signing_keys: service.signing.all().iter().map(Shown::from).collect() })
}

#[derive(Serialize)]
struct Begun {
    signing_key: Shown,
}

async fn rotate(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Path(purpose): Path<Purpose>,
) -> Result<impl IntoResponse, Problem> {
    let key = service.signing.begin(purpose, action).await?;
    Ok((StatusCode::ACCEPTED, Json(Begun { signing_key: Shown::from(&key) })).into_response())
}
