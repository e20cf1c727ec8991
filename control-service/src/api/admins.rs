//! Administrators, as they manage each other.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get};
use axum::{Json, Router};
use portcullis_control_domain::administrator::Administrator;
use portcullis_control_domain::audit::AuditEvent;
use serde::{Deserialize, Serialize};

use super::Service;
use super::extract::{OptionalBody, Parameters, limit};
use super::keys::end;
use super::problem::Problem;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/administrators", get(list).post(create))
        .route("/v1/administrators/{id}", delete(revoke))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Creation {
    expires_in_s: Option<u64>,
}

#[derive(Serialize)]
struct Created<'a> {
    administrator: Administrator,
    token: &'a str,
}

async fn create(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    OptionalBody(body): OptionalBody<Creation>,
) -> Result<impl IntoResponse, Problem> {
    let expires_at_s = end(body.expires_in_s)?;
    let (administrator, token) = service.store.create_administrator(expires_at_s, action).await?;
    Ok((StatusCode::CREATED, Json(Created { administrator, token: token.reveal() })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct AdministratorList {
    administrators: Vec<Administrator>,
    next: Option<String>,
}

async fn list(
    State(service): State<Arc<Service>>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<AdministratorList>, Problem> {
    let listed = service.store.administrators(query.after, limit(query.limit)?).await?;
    Ok(Json(AdministratorList { administrators: listed.items, next: listed.next }))
}

#[derive(Serialize)]
struct Revoked {
    administrator: Administrator,
}

async fn revoke(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Path(id): Path<String>,
) -> Result<Json<Revoked>, Problem> {
    Ok(Json(Revoked { administrator: service.store.revoke_administrator(id, action).await? }))
}
