//! API keys, revocations, and the public keys of identity tokens.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get};
use axum::{Json, Router};
use portcullis_core::SourceType;
use portcullis_core::ids::{Role, Scope, Subject, TenantId};
use portcullis_core::snapshot::policy::Jwks;
use serde::{Deserialize, Serialize};

use super::Service;
use super::clusters::Wait;
use super::extract::{Body, Parameters, limit};
use super::problem::{Fault, Problem};
use crate::clock::now_ms;
use crate::snapshot::Progress;
use crate::store::{Action, ApiKey, NewApiKey, Revocation};

/// Roles or scopes of one key at most.
const MAX_GRANTS: usize = 64;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/api-keys", get(list).post(create))
        .route("/v1/api-keys/{id}", delete(revoke))
        .route("/v1/revocations", get(revocations).post(add_revocation).delete(remove_revocation))
}

/// Needs no credential: public keys.
pub(super) fn public_routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/identity/jwks", get(identity_keys))
}

async fn identity_keys(State(service): State<Arc<Service>>) -> Json<Jwks> {
    Json(service.identity_keys.clone())
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
    Extension(action): Extension<Action>,
    Body(body): Body<Creation>,
) -> Result<impl IntoResponse, Problem> {
    if body.roles.len() > MAX_GRANTS || body.scopes.len() > MAX_GRANTS {
        return Err(Problem::new(Fault::BodyInvalid, "roles, scopes: at most 64 of each"));
    }
    let ten_years = 3660 * 86_400;
    if body.expires_in_s.is_some_and(|s| s == 0 || s > ten_years) {
        return Err(Problem::new(Fault::BodyInvalid, "expires_in_s: must be from 1 second to ten years"));
    }
    let new = NewApiKey {
        tenant: body.tenant,
        subject: body.subject,
        source_type: body.source_type,
        roles: body.roles,
        scopes: body.scopes,
        expires_at_s: body.expires_in_s.map(|s| now_ms() / 1000 + s),
    };
    let (api_key, token, revision) = service.store.create_api_key(new, &service.pepper, action).await?;
    Ok((StatusCode::CREATED, Json(Created { api_key, key: token.reveal(), revision })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    tenant: Option<String>,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
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
    progress: Progress,
}

async fn revoke(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<Action>,
    Path(id): Path<String>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<RevokedKey>, Problem> {
    let wait = wait.duration()?;
    let (api_key, revision) = service.store.revoke_api_key(id, action).await?;
    let progress = service.workers.wait_for(revision, None, wait).await;
    Ok(Json(RevokedKey { api_key, progress }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRevocation {
    name: String,
    #[serde(default)]
    note: String,
}

#[derive(Serialize)]
struct RevocationChanged {
    revocation: Revocation,
    #[serde(flatten)]
    progress: Progress,
}

async fn add_revocation(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<Action>,
    Parameters(wait): Parameters<Wait>,
    Body(body): Body<NewRevocation>,
) -> Result<impl IntoResponse, Problem> {
    let wait = wait.duration()?;
    let known = |(kind, value): (&str, &str)| {
        matches!(kind, "jti" | "sub" | "kid" | "client")
            && (1..=255).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_graphic())
    };
    if !body.name.split_once(':').is_some_and(known) || body.note.len() > 1024 {
        return Err(Problem::new(
            Fault::BodyInvalid,
            "name: write jti:, sub:, kid: or client: and 1 to 255 visible ASCII characters; note: at most 1024 bytes",
        ));
    }
    let (revocation, revision) = service.store.add_revocation(body.name, body.note, action).await?;
    let progress = service.workers.wait_for(revision, None, wait).await;
    Ok((StatusCode::CREATED, Json(RevocationChanged { revocation, progress })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemovalQuery {
    name: String,
}

async fn remove_revocation(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<Action>,
    Parameters(query): Parameters<RemovalQuery>,
) -> Result<Json<RevocationChanged>, Problem> {
    let (revocation, revision) = service.store.remove_revocation(query.name, action).await?;
    let progress = service.workers.progress(revision, None);
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
