//! Clusters: registration, state, heartbeats.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, FromRef, FromRequest, Request, State};
use axum::http::StatusCode;
use portcullis_control_contract::Wait;
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::clusters::{
    ClusterChanged, ClusterList, ClusterListQuery, ClusterShown, HeartbeatRequest, HeartbeatResponse,
    Registered, Registration, Suspension,
};
use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};
use portcullis_control_domain::caller::{Caller, Reach};
use portcullis_control_domain::cluster::Administer;
use portcullis_control_domain::pause::PauseName;
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_services::metrics::Metrics;
use portcullis_control_services::presence::{HeartbeatError, Presence};
use portcullis_control_services::rollout::Rollout;
use portcullis_control_snapshot::RolloutScope;
use portcullis_control_store::{Store, StoreError};
use portcullis_identity::ids::ClusterId;

use super::guard::{Routes, action};
use crate::extract::{Body, ClusterPath, OptionalBody, Parameters, bearer};
use crate::refusal::{paused, refuse};
use crate::{PlatformState, Problem, ProblemKind};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Call::ListClusters, list)
        .on(Call::RegisterCluster, register)
        .on(Call::GetCluster, one)
        .on(Call::SuspendCluster, suspend)
        .on(Call::ResumeCluster, resume)
        .on(Call::RetireCluster, retire)
        .on(Call::Heartbeat, heartbeat)
}

async fn register(
    State(store): State<Store>,
    Extension(action): Extension<AuditEvent>,
    Body(body): Body<Registration>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let new = body.check().map_err(Problem::body)?;
    let (cluster, token, revision) = store.register_cluster(new, action).await?;
    Ok((StatusCode::CREATED, Json(Registered { cluster, token: token.reveal().into(), revision })))
}

async fn list(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Parameters(query): Parameters<ClusterListQuery>,
) -> Result<Json<ClusterList>, Problem> {
    let reach = caller.role.reach();
    let query = query.check(reach.clone()).map_err(Problem::parameter)?;
    let listed = store.clusters(query).await?;
    let clusters = listed.items.into_iter().map(|cluster| cluster.shown_to(&reach)).collect();
    Ok(Json(ClusterList { clusters, next: listed.next }))
}

async fn one(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    ClusterPath(id): ClusterPath,
) -> Result<Json<ClusterShown>, Problem> {
    let reach = caller.role.reach();
    let (cluster, signals) = store.cluster_with_signals(reach.clone(), id).await?;
    Ok(Json(ClusterShown { cluster: cluster.shown_to(&reach), signals }))
}

/// What the change of a cluster's state needs.
#[derive(Clone)]
struct Operator {
    store: Store,
    rollout: Arc<Rollout>,
}

impl FromRef<PlatformState> for Operator {
    fn from_ref(state: &PlatformState) -> Self {
        let PlatformState { store, rollout, .. } = state;
        Self { store: store.clone(), rollout: Arc::clone(rollout) }
    }
}

impl Operator {
    async fn administer(
        &self,
        id: ClusterId,
        what: Administer,
        action: AuditEvent,
        wait: Wait,
    ) -> Result<Json<ClusterChanged>, Problem> {
        let wait: Duration = wait.duration().map_err(Problem::parameter)?;
        let reach = action.reach();
        let (cluster, revision) = self.store.administer_cluster(id, what, action).await?;
        let cluster = cluster.shown_to(&reach);
        let scope = RolloutScope::Cluster(&cluster.id);
        let progress = self.rollout.wait_for(revision, scope, wait, reach).await;
        Ok(Json(ClusterChanged { cluster, progress }))
    }
}

async fn suspend(
    State(operator): State<Operator>,
    Extension(action): Extension<AuditEvent>,
    ClusterPath(id): ClusterPath,
    Parameters(wait): Parameters<Wait>,
    OptionalBody(body): OptionalBody<Suspension>,
) -> Result<Json<ClusterChanged>, Problem> {
    let suspend = body.check().map_err(Problem::body)?;
    operator.administer(id, suspend, action, wait).await
}

async fn resume(
    State(operator): State<Operator>,
    Extension(action): Extension<AuditEvent>,
    ClusterPath(id): ClusterPath,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<ClusterChanged>, Problem> {
    operator.administer(id, Administer::Resume, action, wait).await
}

async fn retire(
    State(operator): State<Operator>,
    Extension(action): Extension<AuditEvent>,
    ClusterPath(id): ClusterPath,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<ClusterChanged>, Problem> {
    operator.administer(id, Administer::Retire, action, wait).await
}

/// What a heartbeat needs.
#[derive(Clone)]
struct Heartbeats {
    store: Store,
    presence: Arc<Presence>,
    metrics: Arc<Metrics>,
}

impl FromRef<PlatformState> for Heartbeats {
    fn from_ref(state: &PlatformState) -> Self {
        let PlatformState { store, presence, metrics, .. } = state;
        Self { store: store.clone(), presence: Arc::clone(presence), metrics: Arc::clone(metrics) }
    }
}

impl Heartbeats {
    /// Refuses who has not the token of a cluster. Whose log it is in is what the cluster is, if there is one; what a caller
    /// says of itself is not believed.
    async fn refuse(&self, id: ClusterId, key_id: String, action: AuditEvent) -> Problem {
        let told = invalid();
        let from = PauseName::cluster_caller(&action.client_address);
        match self.store.pause_of(from).await {
            Ok(None) => {}
            Ok(Some(pause)) => return paused(&self.metrics.refused_clusters, pause),
            Err(error) => return error.into(),
        }
        let action = AuditEvent { by: RecordedCaller::Cluster { key_id }, ..action };
        let mut record = action.record(told.kind().status(), told.kind().code());
        match self.store.cluster(Reach::Platform, id).await {
            Ok(cluster) => {
                record.cluster = cluster.id.to_string();
                record.tenant = cluster.tenant.to_string();
            }
            Err(StoreError::Refused(_)) => {}
            Err(error) => return error.into(),
        }
        refuse(&self.store, &self.metrics.refused_clusters, from, record, told).await
    }
}

fn invalid() -> Problem {
    Problem::new(ProblemKind::TokenInvalid, "send the token that registration gave this cluster")
}

async fn heartbeat(
    State(heartbeats): State<Heartbeats>,
    ClusterPath(id): ClusterPath,
    request: Request,
) -> Result<Json<HeartbeatResponse>, Problem> {
    let Heartbeats { store, presence, metrics } = &heartbeats;
    let token = bearer(request.headers()).and_then(|text| Token::parse(TokenKind::Cluster, text));
    // Before the body is read: who is no cluster does not hold a connection with it.
    let own = match &token {
        Some(token) => presence.is_token_of(store, &id, token.digest()).await?,
        None => false,
    };
    let Some(token) = token.as_ref().filter(|_| own) else {
        let key_id = token.map(|token| token.id().to_owned()).unwrap_or_default();
        return Err(heartbeats.refuse(id, key_id, action(&request)).await);
    };
    let OptionalBody(body) = OptionalBody::<HeartbeatRequest>::from_request(request, &()).await?;
    let HeartbeatRequest { status, version } = body.check().map_err(Problem::body)?;
    let outcome = presence.heartbeat(store, id, Some(token.digest()), status.into(), version).await;
    let state = outcome.map_err(|error| match error {
        HeartbeatError::Token => invalid(),
        HeartbeatError::Retired => Problem::new(ProblemKind::ClusterRetired, error.to_string()),
        HeartbeatError::Store(error) => error.into(),
    })?;
    metrics.heartbeats.add(1);
    Ok(Json(HeartbeatResponse { state, next_heartbeat_s: presence.interval_s() }))
}
