//! Revocations.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::revocations::{
    NewRevocation, RemovalQuery, RevocationChanged, RevocationList,
};
use portcullis_control_contract::{ListQuery, Wait, end, limit};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Caller;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::revocation::reaches_sidecars;
use portcullis_control_services::rollout::Rollout;
use portcullis_control_snapshot::RolloutScope;
use portcullis_control_store::Store;

use super::guard::Routes;
use crate::Problem;
use crate::extract::{Body, Parameters};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.on(Call::ListRevocations, list).on(Call::AddRevocation, add).on(Call::RemoveRevocation, remove)
}

/// Who must have a revocation: a token id means nothing to a sidecar.
fn concerned_by(name: &str) -> RolloutScope<'static> {
    if reaches_sidecars(name) { RolloutScope::Everybody } else { RolloutScope::Gateways }
}

async fn add(
    State(store): State<Store>,
    State(rollout): State<Arc<Rollout>>,
    Extension(action): Extension<AuditEvent>,
    Parameters(wait): Parameters<Wait>,
    Body(body): Body<NewRevocation>,
) -> Result<(StatusCode, Json<RevocationChanged>), Problem> {
    let wait = wait.duration().map_err(Problem::parameter)?;
    let body = body.check().map_err(Problem::body)?;
    let expires_at_s = end(body.expires_in_s, now_ms()).map_err(Problem::body)?;
    let reach = action.reach();
    let (revocation, revision) = store.add_revocation(body.name, body.note, expires_at_s, action).await?;
    let progress = rollout.wait_for(revision, concerned_by(&revocation.name), wait, reach).await;
    Ok((StatusCode::CREATED, Json(RevocationChanged { revocation, progress })))
}

async fn remove(
    State(store): State<Store>,
    State(rollout): State<Arc<Rollout>>,
    Extension(action): Extension<AuditEvent>,
    Parameters(query): Parameters<RemovalQuery>,
) -> Result<Json<RevocationChanged>, Problem> {
    let reach = action.reach();
    let (revocation, revision) = store.remove_revocation(query.name, action).await?;
    let progress = rollout.wait_for(revision, concerned_by(&revocation.name), Duration::ZERO, reach).await;
    Ok(Json(RevocationChanged { revocation, progress }))
}

async fn list(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<RevocationList>, Problem> {
    let limit = limit(query.limit).map_err(Problem::parameter)?;
    let listed = store.revocations(caller.role.reach(), query.after, limit).await?;
    Ok(Json(RevocationList { revocations: listed.items, next: listed.next }))
}
