//! API keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::keys::{
    KeyCreated, KeyCreation, KeyList, KeyRevoked, KeyRotated, KeyRotationRequest,
};
use portcullis_control_contract::{TenantListQuery, Wait, limit};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Caller;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_services::rollout::Rollout;
use portcullis_control_snapshot::RolloutScope;
use portcullis_control_store::Store;

use super::guard::Routes;
use crate::extract::{Body, OptionalBody, Parameters, Segment};
use crate::{Pepper, Problem};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Call::ListApiKeys, list)
        .on(Call::CreateApiKey, create)
        .on(Call::RotateApiKey, rotate)
        .on(Call::RevokeApiKey, revoke)
}

async fn create(
    State(store): State<Store>,
    State(Pepper(pepper)): State<Pepper>,
    Extension(action): Extension<AuditEvent>,
    Body(body): Body<KeyCreation>,
) -> Result<(StatusCode, Json<KeyCreated>), Problem> {
    let new = body.check(now_ms()).map_err(Problem::body)?;
    let (api_key, token, revision) = store.create_api_key(new, &pepper, action).await?;
    Ok((StatusCode::CREATED, Json(KeyCreated { api_key, key: token.reveal().into(), revision })))
}

async fn rotate(
    State(store): State<Store>,
    State(Pepper(pepper)): State<Pepper>,
    State(rollout): State<Arc<Rollout>>,
    Extension(action): Extension<AuditEvent>,
    Segment(id): Segment<String>,
    Parameters(wait): Parameters<Wait>,
    OptionalBody(body): OptionalBody<KeyRotationRequest>,
) -> Result<(StatusCode, Json<KeyRotated>), Problem> {
    let wait = wait.duration().map_err(Problem::parameter)?;
    let how = body.check(now_ms()).map_err(Problem::body)?;
    let reach = action.reach();
    let made = store.rotate_api_key(id, how, &pepper, action).await?;
    let progress = rollout.wait_for(made.revision, RolloutScope::Gateways, wait, reach).await;
    let key = made.token.reveal().into();
    let rotated = KeyRotated { api_key: made.new, key, replaced: made.old, progress };
    Ok((StatusCode::CREATED, Json(rotated)))
}

async fn list(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Parameters(query): Parameters<TenantListQuery>,
) -> Result<Json<KeyList>, Problem> {
    let limit = limit(query.limit).map_err(Problem::parameter)?;
    let listed = store.api_keys(caller.role.reach(), query.tenant, query.after, limit).await?;
    Ok(Json(KeyList { api_keys: listed.items, next: listed.next }))
}

async fn revoke(
    State(store): State<Store>,
    State(rollout): State<Arc<Rollout>>,
    Extension(action): Extension<AuditEvent>,
    Segment(id): Segment<String>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<KeyRevoked>, Problem> {
    let wait = wait.duration().map_err(Problem::parameter)?;
    let reach = action.reach();
    let (api_key, revision) = store.revoke_api_key(id, action).await?;
    let progress = rollout.wait_for(revision, RolloutScope::Everybody, wait, reach).await;
    Ok(Json(KeyRevoked { api_key, progress }))
}
