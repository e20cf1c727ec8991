//! API keys and revocations.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use portcullis_control_domain::api_key::{ApiKey, KeyRotation, NewApiKey};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::revocation::{Revocation, reaches_sidecars};
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_snapshot::RolloutScope;
use portcullis_identity::ids::{Role, Scope, Subject, TenantId};
use portcullis_identity::{KeyId, SourceType};
use portcullis_model::claims::{REVOKED_USER, is_revocable, is_user_name};
use serde::{Deserialize, Serialize};

use super::Service;
use super::clusters::Wait;
use super::extract::{Body, OptionalBody, Parameters, limit};
use super::problem::{Problem, ProblemKind};

/// Roles or scopes of one key at most.
pub(super) const MAX_GRANTS: usize = 64;
/// Longest time in seconds for which a key and the one in its place are good together.
const MAX_OVERLAP_S: u64 = 30 * 86_400;
/// Longest life of a key, an administrator's token or a revocation with an end, in seconds: ten years.
pub(crate) const MAX_LIFE_S: u64 = 3660 * 86_400;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/api-keys", get(list).post(create))
        .route("/v1/api-keys/{id}", delete(revoke))
        .route("/v1/api-keys/{id}/rotate", post(rotate))
        .route("/v1/revocations", get(revocations).post(add_revocation).delete(remove_revocation))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Creation {
    tenant: TenantId,
    subject: Subject,
    source_type: SourceType,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    scopes: Vec<Scope>,
    expires_in_s: Option<u64>,
}

#[derive(Serialize)]
struct Created<'a> {
    api_key: ApiKey,
    key: &'a str,
    revision: u64,
}

async fn create(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Body(body): Body<Creation>,
) -> Result<impl IntoResponse, Problem> {
    if body.roles.len() > MAX_GRANTS || body.scopes.len() > MAX_GRANTS {
        return Err(Problem::new(ProblemKind::BodyInvalid, "roles, scopes: at most 64 of each"));
    }
    let expires_at_s = end(body.expires_in_s)?;
    let new = NewApiKey {
        tenant: body.tenant,
        subject: body.subject,
        source_type: body.source_type,
        roles: body.roles,
        scopes: body.scopes,
        expires_at_s,
    };
    let (api_key, token, revision) = service.store.create_api_key(new, &service.pepper, action).await?;
    Ok((StatusCode::CREATED, Json(Created { api_key, key: token.reveal(), revision })).into_response())
}

/// When something ends that is to live for so long.
pub(super) fn end(expires_in_s: Option<u64>) -> Result<Option<u64>, Problem> {
    if expires_in_s.is_some_and(|s| s == 0 || s > MAX_LIFE_S) {
        return Err(Problem::new(
            ProblemKind::BodyInvalid,
            "expires_in_s: must be from 1 second to ten years",
        ));
    }
    Ok(expires_in_s.map(|s| now_ms() / 1000 + s))
}

/// How long what is replaced may stay good.
pub(super) fn check_overlap(overlap_s: u64) -> Result<(), Problem> {
    if overlap_s > MAX_OVERLAP_S {
        return Err(Problem::new(ProblemKind::BodyInvalid, "overlap_s: must be at most 30 days"));
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    overlap_s: u64,
    expires_in_s: Option<u64>,
}

#[derive(Serialize)]
struct Rotated<'a> {
    api_key: ApiKey,
    key: &'a str,
    replaced: ApiKey,
    #[serde(flatten)]
    progress: RolloutProgress,
}

async fn rotate(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Path(id): Path<String>,
    Parameters(wait): Parameters<Wait>,
    OptionalBody(body): OptionalBody<Rotation>,
) -> Result<impl IntoResponse, Problem> {
    let wait = wait.duration()?;
    check_overlap(body.overlap_s)?;
    let expires_at_s = end(body.expires_in_s)?;
    let store = &service.store;
    let how = KeyRotation { overlap_s: body.overlap_s, expires_at_s };
    let made = store.rotate_api_key(id, how, &service.pepper, action).await?;
    let progress = service.workers.wait_for(made.revision, RolloutScope::Gateways, wait).await;
    let rotated = Rotated { api_key: made.new, key: made.token.reveal(), replaced: made.old, progress };
    Ok((StatusCode::CREATED, Json(rotated)).into_response())
}

/// A page of what tenants own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only this tenant's.
    pub(super) tenant: Option<String>,
    /// The last id of the page before.
    #[serde(default)]
    pub(super) after: String,
    /// Entries at most.
    pub(super) limit: Option<usize>,
}

#[derive(Serialize)]
struct KeyList {
    api_keys: Vec<ApiKey>,
    next: Option<String>,
}

async fn list(
    State(service): State<Arc<Service>>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<KeyList>, Problem> {
    let listed = service.store.api_keys(query.tenant, query.after, limit(query.limit)?).await?;
    Ok(Json(KeyList { api_keys: listed.items, next: listed.next }))
}

#[derive(Serialize)]
struct RevokedKey {
    api_key: ApiKey,
    #[serde(flatten)]
    progress: RolloutProgress,
}

async fn revoke(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Path(id): Path<String>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<RevokedKey>, Problem> {
    let wait = wait.duration()?;
    let (api_key, revision) = service.store.revoke_api_key(id, action).await?;
    let progress = service.workers.wait_for(revision, RolloutScope::Everybody, wait).await;
    Ok(Json(RevokedKey { api_key, progress }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRevocation {
    name: String,
    #[serde(default)]
    note: String,
    expires_in_s: Option<u64>,
}

#[derive(Serialize)]
struct RevocationChanged {
    revocation: Revocation,
    #[serde(flatten)]
    progress: RolloutProgress,
}

/// Who must have a revocation: a token id means nothing to a sidecar.
fn concerned_by(name: &str) -> RolloutScope<'static> {
    if reaches_sidecars(name) { RolloutScope::Everybody } else { RolloutScope::Gateways }
}

async fn add_revocation(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Parameters(wait): Parameters<Wait>,
    Body(body): Body<NewRevocation>,
) -> Result<impl IntoResponse, Problem> {
    let wait = wait.duration()?;
    let known = |(kind, value): (&str, &str)| match kind {
        "kid" => KeyId::new(value).is_ok(),
        "jti" | "sub" | "sid" | "client" => is_revocable(value),
        REVOKED_USER => is_user_name(value),
        _ => false,
    };
    if !body.name.split_once(':').is_some_and(known) || body.note.len() > 1024 {
        return Err(Problem::new(
            ProblemKind::BodyInvalid,
            "name: write jti:, sub:, sid:, kid: or client: and 1 to 255 visible ASCII characters, behind kid: any printable text, or user: and tenant, issuer (- where there is none) and subject with one space between; note: at most 1024 bytes",
        ));
    }
    let expires_at_s = end(body.expires_in_s)?;
    let added = service.store.add_revocation(body.name, body.note, expires_at_s, action).await;
    let (revocation, revision) = added?;
    let scope = concerned_by(&revocation.name);
    let progress = service.workers.wait_for(revision, scope, wait).await;
    Ok((StatusCode::CREATED, Json(RevocationChanged { revocation, progress })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemovalQuery {
    name: String,
}

async fn remove_revocation(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Parameters(query): Parameters<RemovalQuery>,
) -> Result<Json<RevocationChanged>, Problem> {
    let (revocation, revision) = service.store.remove_revocation(query.name, action).await?;
    let progress = service.workers.progress(revision, concerned_by(&revocation.name));
    Ok(Json(RevocationChanged { revocation, progress }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevocationQuery {
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct RevocationList {
    revocations: Vec<Revocation>,
    next: Option<String>,
}

async fn revocations(
    State(service): State<Arc<Service>>,
    Parameters(query): Parameters<RevocationQuery>,
) -> Result<Json<RevocationList>, Problem> {
    let listed = service.store.revocations(query.after, limit(query.limit)?).await?;
    Ok(Json(RevocationList { revocations: listed.items, next: listed.next }))
}
