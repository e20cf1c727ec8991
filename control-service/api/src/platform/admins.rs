//! Who has a token of this API, as administrators manage them.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use portcullis_control_contract::administrators::{
    AdministratorCreated, AdministratorCreation, AdministratorList, AdministratorRevocation,
    AdministratorRevoked,
};
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::{ListQuery, limit};
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
    Extension(caller): Extension<Caller>,
    OptionalBody(body): OptionalBody<AdministratorCreation>,
) -> Result<(StatusCode, Json<AdministratorCreated>), Problem> {
    let invalid = |error: InvalidRole| Problem::new(ProblemKind::BodyInvalid, error.to_string());
    let role = body.role().map_err(invalid)?;
    let now = now_ms();
    let expires_at_s = body.end(now, caller.vouches_until_s(now / 1000)).map_err(Problem::body)?;
    let (administrator, token) = store.create_administrator(role, expires_at_s, caller, action).await?;
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
    Parameters(AdministratorRevocation { with_made }): Parameters<AdministratorRevocation>,
) -> Result<Json<AdministratorRevoked>, Problem> {
    let (administrator, made) = store.revoke_administrator(id, with_made, action).await?;
    Ok(Json(AdministratorRevoked { administrator, made }))
}
