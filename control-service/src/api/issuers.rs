//! How issuers' keys are doing, and the keys that this platform signs with.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_authn::jwk::LeftOut;
use serde::Serialize;

use super::Service;
use super::oauth::key_set;
use super::problem::Problem;
use crate::issuers::IssuerReport;
use crate::store::{AuditEvent, Purpose, SigningKey};

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

/// A key of an issuer that is not used.
#[derive(Serialize)]
struct LeftOutKey {
    issuer: String,
    kid: Option<String>,
    reason: String,
}

async fn issuers(State(service): State<Arc<Service>>) -> Json<IssuerList> {
    let issuers = service.issuers.report().await;
    let of = |report: &IssuerReport| -> Vec<LeftOutKey> {
        let key = |left: &LeftOut| LeftOutKey {
            issuer: report.issuer.clone(),
            kid: left.kid.as_ref().map(ToString::to_string),
            reason: left.why.to_string(),
        };
        report.left_out.iter().map(key).collect()
    };
    let left_out = issuers.iter().flat_map(of).collect();
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
