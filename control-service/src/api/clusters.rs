//! Clusters: registration, state, heartbeats.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::cluster::{
    Administer, Cluster, ClusterQuery, NewCluster, Observed, Placement,
};
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_services::presence::HeartbeatError;
use portcullis_control_snapshot::RolloutScope;
use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::decision::ClusterState;
use serde::{Deserialize, Serialize};

use super::Service;
use super::extract::{Body, ClusterPath, OptionalBody, Parameters, bearer, limit};
use super::problem::{Problem, ProblemKind};

/// Seconds that a change may wait for its acknowledgement.
const MAX_WAIT: u64 = 30;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/clusters", get(list).post(register))
        .route("/v1/clusters/{id}", get(one).delete(retire))
        .route("/v1/clusters/{id}/suspend", post(suspend))
        .route("/v1/clusters/{id}/resume", post(resume))
}

/// Called by clusters with their own tokens.
pub(super) fn heartbeat_routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/clusters/{id}/heartbeat", post(heartbeat))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    id: ClusterId,
    tenant: TenantId,
    placement: Placement,
    region: Option<String>,
}

#[derive(Serialize)]
struct Registered<'a> {
    cluster: Cluster,
    token: &'a str,
    revision: u64,
}

async fn register(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    Body(body): Body<Registration>,
) -> Result<impl IntoResponse, Problem> {
    if body.region.as_ref().is_some_and(|r| r.is_empty() || r.len() > 64) {
        return Err(Problem::new(ProblemKind::BodyInvalid, "region: must have 1 to 64 characters"));
    }
    let new = NewCluster { id: body.id, tenant: body.tenant, placement: body.placement, region: body.region };
    let (cluster, token, revision) = service.store.register_cluster(new, action).await?;
    service.presence.registered(&cluster, token.digest());
    Ok((StatusCode::CREATED, Json(Registered { cluster, token: token.reveal(), revision })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    tenant: Option<String>,
    state: Option<ClusterState>,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct ClusterList {
    clusters: Vec<Cluster>,
    next: Option<String>,
}

async fn list(
    State(service): State<Arc<Service>>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<ClusterList>, Problem> {
    let limit = limit(query.limit)?;
    let query = ClusterQuery { tenant: query.tenant, state: query.state, after: query.after, limit };
    let listed = service.store.clusters(query).await?;
    Ok(Json(ClusterList { clusters: listed.items, next: listed.next }))
}

async fn one(
    State(service): State<Arc<Service>>,
    ClusterPath(id): ClusterPath,
) -> Result<Json<Cluster>, Problem> {
    Ok(Json(service.store.cluster(id).await?))
}

/// `?wait=`: how long to wait until all workers concerned have a change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<u64>,
}

impl Wait {
    /// The checked duration.
    pub(super) fn duration(&self) -> Result<Duration, Problem> {
        match self.wait.unwrap_or(0) {
            s @ 0..=MAX_WAIT => Ok(Duration::from_secs(s)),
            _ => Err(Problem::parameter("wait", "must be from 0 to 30 seconds")),
        }
    }
}

#[derive(Serialize)]
struct Changed {
    cluster: Cluster,
    #[serde(flatten)]
    progress: RolloutProgress,
}

async fn administer(
    service: &Service,
    id: ClusterId,
    what: Administer,
    action: AuditEvent,
    wait: &Wait,
) -> Result<Json<Changed>, Problem> {
    let wait = wait.duration()?;
    let (cluster, revision) = service.store.administer_cluster(id, what, action).await?;
    service.presence.administered(&cluster);
    let progress = service.workers.wait_for(revision, RolloutScope::Cluster(&cluster.id), wait).await;
    Ok(Json(Changed { cluster, progress }))
}

async fn suspend(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    ClusterPath(id): ClusterPath,
    Parameters(wait): Parameters<Wait>,
) -> Result<impl IntoResponse, Problem> {
    administer(&service, id, Administer::Suspend, action, &wait).await
}

async fn resume(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    ClusterPath(id): ClusterPath,
    Parameters(wait): Parameters<Wait>,
) -> Result<impl IntoResponse, Problem> {
    administer(&service, id, Administer::Resume, action, &wait).await
}

async fn retire(
    State(service): State<Arc<Service>>,
    Extension(action): Extension<AuditEvent>,
    ClusterPath(id): ClusterPath,
    Parameters(wait): Parameters<Wait>,
) -> Result<impl IntoResponse, Problem> {
    administer(&service, id, Administer::Retire, action, &wait).await
}

/// What a cluster may say of itself.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    #[default]
    Online,
    Degraded,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HeartbeatBody {
    status: Status,
    version: Option<String>,
}

#[derive(Serialize)]
struct HeartbeatResponse {
    state: ClusterState,
    next_heartbeat_s: u64,
}

async fn heartbeat(
    State(service): State<Arc<Service>>,
    ClusterPath(id): ClusterPath,
    request: Request,
) -> Result<Json<HeartbeatResponse>, Problem> {
    let invalid =
        || Problem::new(ProblemKind::TokenInvalid, "send the token that registration gave this cluster");
    let token =
        bearer(request.headers()).and_then(|t| Token::parse(TokenKind::Cluster, t)).ok_or_else(invalid)?;
    // Before the body is read: who is no cluster does not hold a connection with it.
    if !service.presence.is_token_of(&id, token.digest()) {
        return Err(invalid());
    }
    let OptionalBody(body) = OptionalBody::<HeartbeatBody>::from_request(request, &()).await?;
    // A cluster's own word is shown to operators.
    let sound = |v: &String| (1..=64).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic());
    if !body.version.as_ref().is_none_or(sound) {
        return Err(Problem::new(
            ProblemKind::BodyInvalid,
            "version: must have 1 to 64 visible ASCII characters",
        ));
    }
    let observed = match body.status {
        Status::Online => Observed::Online,
        Status::Degraded => Observed::Degraded,
    };
    let outcome =
        service.presence.heartbeat(&service.store, id, token.digest(), observed, body.version).await;
    let state = outcome.map_err(|error| match error {
        HeartbeatError::Token => invalid(),
        HeartbeatError::Retired => Problem::new(ProblemKind::ClusterRetired, error.to_string()),
        HeartbeatError::Store(error) => error.into(),
    })?;
    service.metrics.heartbeats.add(1);
    Ok(Json(HeartbeatResponse { state, next_heartbeat_s: service.presence.interval_s() }))
}
