//! Who has a token of this API, as administrators manage them.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use portcullis_control_contract::administrators::{
    AdministratorCreated, AdministratorCreation, AdministratorList, AdministratorRevoked,
};
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::{ListQuery, end, limit};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::{Caller, InvalidRole};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_store::Store;

use super::guard::Routes;
use crate::extract::{OptionalBody, Parameters, Segment};
use crate::{Problem, ProblemKind};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Call::ListAdministrators, list)
        .on(Call::CreateAdministrator, create)
        .on(Call::RevokeAdministrator, revoke)
}

async fn create(
    State(store): State<Store>,
    Extension(action): Extension<AuditEvent>,
    OptionalBody(body): OptionalBody<AdministratorCreation>,
) -> Result<(StatusCode, Json<AdministratorCreated>), Problem> {
    let invalid = |error: InvalidRole| Problem::new(ProblemKind::BodyInvalid, error.to_string());
    let role = body.role().map_err(invalid)?;
    let expires_at_s = end(body.expires_in_s, now_ms()).map_err(Problem::body)?;
    let (administrator, token) = store.create_administrator(role, expires_at_s, action).await?;
    let created = AdministratorCreated { administrator, token: token.reveal().into() };
    Ok((StatusCode::CREATED, Json(created)))
}

async fn list(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<AdministratorList>, Problem> {
    let limit = limit(query.limit).map_err(Problem::parameter)?;
    let listed = store.administrators(caller.role.reach(), query.after, limit).await?;
    Ok(Json(AdministratorList { administrators: listed.items, next: listed.next }))
}

async fn revoke(
    State(store): State<Store>,
    Extension(action): Extension<AuditEvent>,
    Segment(id): Segment<String>,
) -> Result<Json<AdministratorRevoked>, Problem> {
    Ok(Json(AdministratorRevoked { administrator: store.revoke_administrator(id, action).await? }))
}
