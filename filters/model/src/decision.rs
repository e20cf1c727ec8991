//! The outcome of the checks: a permit or a refusal with a stable reason code.

use std::sync::Arc;

use portcullis_identity::{ClusterId, TenantId};

use crate::reason::Reason;

/// A request that is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Which stage refused, or the root id.
    pub stage: &'static str,
    /// What is told besides.
    pub told: Option<Box<Told>>,
}

/// What a refusal tells besides its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The methods that there are (RFC 9110 §10.2.1).
    Allow(&'static str),
    /// All scopes that are needed, separated by spaces (RFC 6750 §3).
    Scope(String),
}

impl Refusal {
    /// A refusal by a stage.
    #[inline]
    #[must_use]
    pub fn new(stage: &'static str, reason: Reason) -> Self {
        Self { reason, stage, told: None }
    }

    /// The same, which tells something besides.
    #[must_use]
    pub fn telling(self, told: Told) -> Self {
        Self { told: Some(Box::new(told)), ..self }
    }
}

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Decision {
    /// Nothing: an earlier filter ended it, or no stage decided.
    #[default]
    None,
    /// Let through.
    Allow,
    /// Let through, or answered here, without an identity: it is on the closed list.
    Exempt,
    /// Let through to a host of the platform itself, where whom it is for judges its credential.
    Platform,
    /// Refused, or in dry-run what would have been refused.
    Refuse(Refusal),
    /// Let through, and ended while it was open; in dry-run what would have been ended.
    End(Refusal),
}

impl Decision {
    /// The name in audit records.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Allow => "allow",
            Self::Exempt => "exempt",
            Self::Platform => "platform",
            Self::Refuse(_) => "refuse",
            Self::End(_) => "end",
        }
    }
}

/// The proof that the cluster checks passed. Only [`Permit::decide`] makes one, and only a permit lets a
/// request on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    cluster: Arc<ClusterId>,
}

impl Permit {
    /// Decides whether a tenant's request may go to a cluster. Order: ownership first (another tenant's
    /// cluster is unknown, whatever its state), then state.
    ///
    /// # Errors
    /// The reason of the refusal.
    #[inline]
    pub fn decide(
        cluster: ClusterId,
        record: Option<(&TenantId, ClusterState)>,
        tenant: &TenantId,
    ) -> Result<Self, Reason> {
        let (owner, state) = record.ok_or(Reason::ClusterUnknown)?;
        if owner != tenant {
            return Err(Reason::ClusterUnknown);
        }
        match state {
            ClusterState::Online | ClusterState::Degraded => Ok(Self { cluster: Arc::new(cluster) }),
            ClusterState::Pending => Err(Reason::ClusterPending),
            ClusterState::Offline => Err(Reason::ClusterOffline),
            ClusterState::Suspended => Err(Reason::ClusterSuspended),
            ClusterState::Retired => Err(Reason::ClusterRetired),
        }
    }

    /// The cluster that may be reached.
    #[inline]
    #[must_use]
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }
}

/// The state of a data cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// Registered, never online.
    Pending,
    /// Reachable.
    Online,
    /// Reachable, with a part that fails.
    Degraded,
    /// Not reporting.
    Offline,
    /// Closed by an operator; nothing changes in the cluster.
    Suspended,
    /// Gone for good.
    Retired,
}

impl ClusterState {
    /// The name as it stands in the API and in audit records.
    #[inline]
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Pending => 1,
            Self::Online => 2,
            Self::Degraded => 3,
            Self::Offline => 4,
            Self::Suspended => 5,
            Self::Retired => 6,
        }
    }

    /// Reads the number on the wire; an unknown one is `Suspended`, so that a newer service's state
    /// closes the cluster rather than opening it.
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Pending,
            2 => Self::Online,
            3 => Self::Degraded,
            4 => Self::Offline,
            6 => Self::Retired,
            _ => Self::Suspended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn decide(record: Option<(&TenantId, ClusterState)>) -> Result<Permit, Reason> {
        Permit::decide(ClusterId::new("c").unwrap(), record, &tenant("acme"))
    }

    #[test]
    fn another_tenants_cluster_is_unknown_whatever_its_state() {
        for code in 0..=7 {
            let state = ClusterState::from_code(code);
            assert_eq!(decide(Some((&tenant("globex"), state))), Err(Reason::ClusterUnknown));
        }
        assert_eq!(decide(None), Err(Reason::ClusterUnknown));
    }

    #[test]
    fn only_online_and_degraded_clusters_are_reached() {
        let own = tenant("acme");
        let at = |s| decide(Some((&own, s))).map(|p| p.cluster().to_string());
        assert_eq!(at(ClusterState::Online), Ok("c".into()));
        assert_eq!(at(ClusterState::Degraded), Ok("c".into()));
        assert_eq!(at(ClusterState::Pending), Err(Reason::ClusterPending));
        assert_eq!(at(ClusterState::Offline), Err(Reason::ClusterOffline));
        assert_eq!(at(ClusterState::Suspended), Err(Reason::ClusterSuspended));
        assert_eq!(at(ClusterState::Retired), Err(Reason::ClusterRetired));
    }

    #[test]
    fn an_unknown_state_closes_the_cluster() {
        assert_eq!(ClusterState::from_code(99), ClusterState::Suspended);
    }
}
