//! Administrators, as they manage each other.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use portcullis_control_contract::administrators::{
    AdministratorCreated, AdministratorCreation, AdministratorList, AdministratorRevoked,
};
use portcullis_control_contract::{ListQuery, end, limit};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_store::Store;

use crate::extract::{OptionalBody, Parameters};
use crate::{PlatformState, Problem};

pub(super) fn routes() -> Router<PlatformState> {
    Router::new()
        .route("/v1/administrators", get(list).post(create))
        .route("/v1/administrators/{id}", delete(revoke))
}

async fn create(
    State(store): State<Store>,
    Extension(action): Extension<AuditEvent>,
    OptionalBody(body): OptionalBody<AdministratorCreation>,
) -> Result<(StatusCode, Json<AdministratorCreated>), Problem> {
    let expires_at_s = end(body.expires_in_s, now_ms()).map_err(Problem::body)?;
    let (administrator, token) = store.create_administrator(expires_at_s, action).await?;
    let created = AdministratorCreated { administrator, token: token.reveal().into() };
    Ok((StatusCode::CREATED, Json(created)))
}

async fn list(
    State(store): State<Store>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<AdministratorList>, Problem> {
    let limit = limit(query.limit).map_err(Problem::parameter)?;
    let listed = store.administrators(query.after, limit).await?;
    Ok(Json(AdministratorList { administrators: listed.items, next: listed.next }))
}

async fn revoke(
    State(store): State<Store>,
    Extension(action): Extension<AuditEvent>,
    Path(id): Path<String>,
) -> Result<Json<AdministratorRevoked>, Problem> {
    Ok(Json(AdministratorRevoked { administrator: store.revoke_administrator(id, action).await? }))
}
