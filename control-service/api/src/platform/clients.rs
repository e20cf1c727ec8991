//! Clients of the token endpoint, as administrators manage them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::clients::{
    ClientCreation, ClientList, ClientRevoked, ClientRotation, ClientWithSecret,
};
use portcullis_control_contract::{TenantListQuery, Wait, limit, overlap};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Caller;
use portcullis_control_services::oauth::TokenEndpoint;
use portcullis_control_services::rollout::Rollout;
use portcullis_control_snapshot::RolloutScope;
use portcullis_control_store::Store;

use super::guard::Routes;
use super::oauth::gives_out_none;
use crate::Problem;
use crate::extract::{Body, OptionalBody, Parameters, Segment};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Call::ListServiceClients, list)
        .on(Call::CreateServiceClient, create)
        .on(Call::RotateServiceClient, rotate)
        .on(Call::RevokeServiceClient, revoke)
}

async fn create(
    State(store): State<Store>,
    State(tokens): State<Arc<TokenEndpoint>>,
    Extension(action): Extension<AuditEvent>,
    Body(body): Body<ClientCreation>,
) -> Result<(StatusCode, Json<ClientWithSecret>), Problem> {
    let own = tokens.settings().ok_or_else(gives_out_none)?;
    let new = body.check(own.lifetime_s, &own.audiences).map_err(Problem::body)?;
    let (service_client, secret) = store.create_service_client(new, action).await?;
    let shown = ClientWithSecret { service_client, client_secret: secret.reveal().into() };
    Ok((StatusCode::CREATED, Json(shown)))
}

async fn rotate(
    State(store): State<Store>,
    Extension(action): Extension<AuditEvent>,
    Segment(id): Segment<String>,
    OptionalBody(body): OptionalBody<ClientRotation>,
) -> Result<Json<ClientWithSecret>, Problem> {
    let overlap_s = overlap(body.overlap_s).map_err(Problem::body)?;
    let (service_client, secret) = store.rotate_service_client(id, overlap_s * 1000, action).await?;
    Ok(Json(ClientWithSecret { service_client, client_secret: secret.reveal().into() }))
}

async fn revoke(
    State(store): State<Store>,
    State(rollout): State<Arc<Rollout>>,
    Extension(action): Extension<AuditEvent>,
    Segment(id): Segment<String>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<ClientRevoked>, Problem> {
    let wait = wait.duration().map_err(Problem::parameter)?;
    let reach = action.reach();
    let (service_client, revision) = store.revoke_service_client(id, action).await?;
    let progress = rollout.wait_for(revision, RolloutScope::Everybody, wait, reach).await;
    Ok(Json(ClientRevoked { service_client, progress }))
}

async fn list(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Parameters(query): Parameters<TenantListQuery>,
) -> Result<Json<ClientList>, Problem> {
    let limit = limit(query.limit).map_err(Problem::parameter)?;
    let listed = store.service_clients(caller.role.reach(), query.tenant, query.after, limit).await?;
    Ok(Json(ClientList { service_clients: listed.items, next: listed.next }))
}
