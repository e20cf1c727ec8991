//! Clients of the token endpoint, as administrators manage them.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use portcullis_control_config::MAX_SERVICE_TOKEN_S;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::client::{NewServiceClient, ServiceClient};
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_snapshot::RolloutScope;
use portcullis_identity::ids::{ClientId, Role, Scope, TenantId};
use serde::{Deserialize, Serialize};

use super::Service;
use super::clusters::Wait;
use super::extract::{Body, OptionalBody, Parameters, limit};
use super::keys::{ListQuery, MAX_GRANTS, check_overlap};
use super::problem::{Problem, ProblemKind};

/// What every client's id begins with, so that none is ever that of a client of another issuer.
const PREFIX: &str = "svc-";

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/service-clients", get(list).post(create))
        .route("/v1/service-clients/{id}", delete(revoke))
        .route("/v1/service-clients/{id}/rotate", post(rotate))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Creation {
    id: ClientId,
    tenant: TenantId,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    scopes: Vec<Scope>,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    may_exchange: bool,
    lifetime_s: Option<u32>,
}

impl Creation {
    fn check(self, service: &Service) -> Result<NewServiceClient, Problem> {
        let own = service.signing.service_tokens().ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, "this service gives out no tokens: serviceTokens is not set")
        })?;
        let bad = |detail: &str| Err(Problem::new(ProblemKind::BodyInvalid, detail));
        let name = self.id.as_str().strip_prefix(PREFIX).unwrap_or_default();
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=60).contains(&name.len()) || !name.bytes().all(letter) {
            return bad("id: write svc- and 1 to 60 characters of a-z, 0-9 and '-'");
        }
        if self.roles.len() > MAX_GRANTS || self.scopes.len() > MAX_GRANTS || self.audiences.len() > 16 {
            return bad("roles, scopes, audiences: at most 64, 64 and 16");
        }
        let audience = |a: &String| (1..=255).contains(&a.len()) && a.bytes().all(|b| b.is_ascii_graphic());
        if !self.audiences.iter().all(audience) {
            return bad("audiences: use 1 to 255 visible ASCII characters");
        }
        let lifetime_s = self.lifetime_s.unwrap_or(own.lifetime_s);
        if !(30..=MAX_SERVICE_TOKEN_S).contains(&lifetime_s) {
            return bad("lifetime_s: must be from 30 to 900 seconds");
        }
        let audiences = if self.audiences.is_empty() { own.audiences.clone() } else { self.audiences };
        Ok(NewServiceClient {
            id: self.id,
            tenant: self.tenant,
            roles: self.roles,
            scopes: self.scopes,
            audiences,
            may_exchange: self.may_exchange,
            lifetime_s,
        })
    }
}

#[derive(Serialize)]
struct WithSecret<'a> {
    service_client: ServiceClient,
    client_secret: &'a str,
}

async fn create(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Body(body): Body<Creation>,
) -> Result<impl IntoResponse, Problem> {
    let new = body.check(&service)?;
    let (service_client, secret) = service.store.create_service_client(new, action).await?;
    let shown = WithSecret { service_client, client_secret: secret.reveal() };
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// How long what is replaced stays good.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Overlap {
    overlap_s: u64,
}

async fn rotate(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<Overlap>,
) -> Result<impl IntoResponse, Problem> {
    check_overlap(body.overlap_s)?;
    let (service_client, secret) =
        service.store.rotate_service_client(id, body.overlap_s * 1000, action).await?;
    Ok(Json(WithSecret { service_client, client_secret: secret.reveal() }).into_response())
}

#[derive(Serialize)]
struct Revoked {
    service_client: ServiceClient,
    #[serde(flatten)]
    progress: RolloutProgress,
}

async fn revoke(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Path(id): Path<String>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<Revoked>, Problem> {
    let wait = wait.duration()?;
    let (service_client, revision) = service.store.revoke_service_client(id, action).await?;
    let progress = service.workers.wait_for(revision, RolloutScope::Everybody, wait).await;
    Ok(Json(Revoked { service_client, progress }))
}

#[derive(Serialize)]
struct ClientList {
    service_clients: Vec<ServiceClient>,
    next: Option<String>,
}

async fn list(
    State(service): State<Arc<Service>>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<ClientList>, Problem> {
    let listed = service.store.service_clients(query.tenant, query.after, limit(query.limit)?).await?;
    Ok(Json(ClientList { service_clients: listed.items, next: listed.next }))
}
