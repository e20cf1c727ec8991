//! Clusters: registration, state, heartbeats.

use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::cluster::{Administer, Cluster, ClusterQuery, NewCluster, Placement};
use portcullis_control_domain::hold::HoldReason;
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_domain::schema;
use portcullis_control_domain::signal::{SignalReport, SignalValue};
use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::decision::ClusterState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Invalid, ShownOnce};

/// Registers a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its id.
    #[schemars(with = "schema::ClusterId")]
    pub id: ClusterId,
    /// Who owns it.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// Where it stands.
    pub placement: Placement,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
}

impl Registration {
    /// The cluster to be registered.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<NewCluster, Invalid> {
        // GET /v1/clusters/watch is a call of its own.
        if self.id.as_str() == "watch" {
            return Err(Invalid("id: `watch` is a word of this API; choose another one"));
        }
        if self.region.as_ref().is_some_and(|r| r.is_empty() || r.len() > 64) {
            return Err(Invalid("region: must have 1 to 64 characters"));
        }
        Ok(NewCluster { id: self.id, tenant: self.tenant, placement: self.placement, region: self.region })
    }
}

/// A cluster that was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registered {
    /// The cluster.
    pub cluster: Cluster,
    /// Its own token.
    pub token: ShownOnce,
    /// The revision from which on filters know it.
    pub revision: u64,
}

/// Which clusters are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterListQuery {
    /// Only this tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::ClusterState>")]
    pub state: Option<ClusterState>,
    /// The last id of the page before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// Entries at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

impl ClusterListQuery {
    /// The query of somebody of this reach.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self, reach: Reach) -> Result<ClusterQuery, Invalid> {
        let limit = crate::limit(self.limit)?;
        Ok(ClusterQuery { reach, tenant: self.tenant, state: self.state, after: self.after, limit })
    }
}

/// A page of clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterList {
    /// The clusters, in the order of their ids.
    pub clusters: Vec<Cluster>,
    /// Where to go on.
    pub next: Option<String>,
}

/// Closes a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Suspension {
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::HoldReason>")]
    pub reason: Option<String>,
}

impl Suspension {
    /// What is to be done.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<Administer, Invalid> {
        let reason = self.reason.map(HoldReason::try_from).transpose();
        let wrong = |_| Invalid("reason: must have 1 to 200 characters, none of them a control character");
        Ok(Administer::Suspend(reason.map_err(wrong)?))
    }
}

/// A cluster, and what is known of how it is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterShown {
    /// The cluster.
    #[serde(flatten)]
    pub cluster: Cluster,
    /// What each signal said last.
    #[serde(default)]
    pub signals: Vec<SignalReport>,
}

/// The data of an event `cluster`: a cluster is in this state now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterEvent {
    /// The cluster.
    #[schemars(with = "schema::ClusterId")]
    pub id: ClusterId,
    /// Who owns it.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// What filters enforce.
    #[schemars(with = "schema::ClusterState")]
    pub state: ClusterState,
    /// The revision from which on it is so.
    pub revision: u64,
}

/// A cluster that an operator changed, and how far that has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterChanged {
    /// The cluster.
    pub cluster: Cluster,
    /// Who has the change.
    #[serde(flatten)]
    pub progress: RolloutProgress,
}

/// What a cluster may say of itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeartbeatStatus {
    /// All is well.
    #[default]
    Online,
    /// A part fails.
    Degraded,
}

impl From<HeartbeatStatus> for SignalValue {
    fn from(status: HeartbeatStatus) -> Self {
        match status {
            HeartbeatStatus::Online => Self::Good,
            HeartbeatStatus::Degraded => Self::Degraded,
        }
    }
}

/// A heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeartbeatRequest {
    /// How the cluster is.
    pub status: HeartbeatStatus,
    /// The version that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::ReportedVersion>")]
    pub version: Option<String>,
}

impl HeartbeatRequest {
    /// Whether a cluster's own word can be shown to operators.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(self) -> Result<Self, Invalid> {
        check_version(self.version.as_deref())?;
        Ok(self)
    }
}

/// Whether what runs in a cluster says its version in a form that can be shown.
pub(crate) fn check_version(version: Option<&str>) -> Result<(), Invalid> {
    let sound = |v: &str| (1..=64).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic());
    if version.is_none_or(sound) {
        Ok(())
    } else {
        Err(Invalid("version: must have 1 to 64 visible ASCII characters"))
    }
}

/// What a cluster hears back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeartbeatResponse {
    /// The state that filters enforce.
    #[schemars(with = "schema::ClusterState")]
    pub state: ClusterState,
    /// Seconds until the next one is due.
    pub next_heartbeat_s: u64,
}
