//! How issuers' keys are doing, and the keys that this platform signs with.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::issuers::{IssuerList, RotationBegun, SigningKeyList, SigningKeyReport};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::signing::Purpose;
use portcullis_control_services::issuers::Issuers;
use portcullis_control_services::signing::SigningKeys;
use portcullis_model::policy::Jwks;

use super::guard::Routes;
use crate::Problem;
use crate::extract::Segment;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Call::ListIssuers, issuers)
        .on(Call::ListSigningKeys, signing_keys)
        .on(Call::RotateSigningKey, rotate)
        .on(Call::IdentityKeys, identity_keys)
}

async fn identity_keys(State(signing): State<Arc<SigningKeys>>) -> impl IntoResponse {
    key_set(&signing, Purpose::Identity)
}

/// A key set, with how long a copy of it may be used.
pub(super) fn key_set(signing: &SigningKeys, purpose: Purpose) -> (HeaderMap, Json<Jwks>) {
    let age = signing.max_age(purpose).as_secs().to_string();
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&["public, max-age=", &age].concat()) {
        headers.insert(header::CACHE_CONTROL, value);
    }
    (headers, Json(signing.key_set(purpose)))
}

async fn issuers(State(issuers): State<Arc<Issuers>>) -> Json<IssuerList> {
    Json(IssuerList { issuers: issuers.report().await, left_out: issuers.left_out().await })
}

async fn signing_keys(State(signing): State<Arc<SigningKeys>>) -> Result<Json<SigningKeyList>, Problem> {
    // Another replica may have changed them.
    signing.refresh().await?;
    Ok(Json(SigningKeyList { signing_keys: signing.all().iter().map(SigningKeyReport::from).collect() }))
}

async fn rotate(
    State(signing): State<Arc<SigningKeys>>,
    Extension(action): Extension<AuditEvent>,
    Segment(purpose): Segment<Purpose>,
) -> Result<(StatusCode, Json<RotationBegun>), Problem> {
    let key = signing.begin(purpose, action).await?;
    Ok((StatusCode::ACCEPTED, Json(RotationBegun { signing_key: SigningKeyReport::from(&key) })))
}
