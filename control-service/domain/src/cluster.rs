//! What a data cluster is, and how its state follows from operators and heartbeats.
//!
//! What an operator said (`administrative`) and what heartbeats say (`observed`) are kept apart, so that
//! a suspended cluster stays suspended whatever it reports, and a resumed one is at once what it reports.

use crate::schema;
use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::decision::ClusterState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::caller::{Authority, Reach};
pub use crate::text_enum::UnknownText;
use crate::text_enum::text_enum;

text_enum!(
    /// Where a cluster stands.
    Placement {
        /// On the platform: reached by an internal address.
        PlatformHosted = "platform_hosted",
        /// At a customer's: reached through a tunnel that it dialled.
        OnPremises = "on_premises",
    }
);
text_enum!(
    /// What operators say of a cluster.
    Administrative {
        /// Nothing.
        Active = "active",
        /// Closed until resumed.
        Suspended = "suspended",
        /// Gone for good.
        Retired = "retired",
    }
);
text_enum!(
    /// What a cluster's heartbeats say.
    Observed {
        /// None came yet.
        Pending = "pending",
        /// All is well.
        Online = "online",
        /// A part fails.
        Degraded = "degraded",
        /// None came for too long.
        Offline = "offline",
    }
);

/// The state that filters enforce.
#[must_use]
pub fn effective(administrative: Administrative, observed: Observed) -> ClusterState {
    match (administrative, observed) {
        (Administrative::Retired, _) => ClusterState::Retired,
        (Administrative::Suspended, _) => ClusterState::Suspended,
        (Administrative::Active, Observed::Pending) => ClusterState::Pending,
        (Administrative::Active, Observed::Online) => ClusterState::Online,
        (Administrative::Active, Observed::Degraded) => ClusterState::Degraded,
        (Administrative::Active, Observed::Offline) => ClusterState::Offline,
    }
}

/// A cluster as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cluster {
    /// Its id.
    #[schemars(with = "schema::ClusterId")]
    pub id: ClusterId,
    /// Who owns it.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// Where it stands.
    pub placement: Placement,
    /// Its region, if it was given.
    pub region: Option<String>,
    /// What filters enforce.
    #[schemars(with = "schema::ClusterState")]
    pub state: ClusterState,
    /// What its heartbeats say.
    pub observed: Observed,
    /// What operators say.
    pub administrative: Administrative,
    /// Who has suspended it, the highest last: it opens again when all of them have taken that back.
    #[serde(default)]
    pub suspended_by: Vec<Authority>,
    /// The version that it reported last.
    pub version: Option<String>,
    /// When it was registered, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Its last heartbeat by the database's clock, as far as written down: some seconds behind.
    pub last_heartbeat_at_ms: Option<u64>,
}

impl Cluster {
    /// A cluster as it is when it is registered.
    #[must_use]
    pub fn registered(new: NewCluster, now_ms: u64) -> Self {
        Self {
            id: new.id,
            tenant: new.tenant,
            placement: new.placement,
            region: new.region,
            state: ClusterState::Pending,
            observed: Observed::Pending,
            administrative: Administrative::Active,
            suspended_by: Vec::new(),
            version: None,
            created_at_ms: now_ms,
            last_heartbeat_at_ms: None,
        }
    }

    /// Whether somebody of this reach may know of it.
    #[must_use]
    pub fn is_within(&self, reach: &Reach) -> bool {
        reach.has_cluster(&self.tenant, &self.id)
    }

    /// Does what an operator wants, by this authority.
    ///
    /// Each authority closes a cluster for itself, so that nobody opens what somebody else holds closed without seeing
    /// it: resuming takes back the highest suspension alone, and only one that is not above whoever resumes.
    ///
    /// # Errors
    /// [`Refused::ClusterRetired`]: retirement is final. [`Refused::HeldAbove`]: a higher authority has suspended it.
    pub fn administer(&mut self, what: Administer, by: Authority) -> Result<(), Refused> {
        let retired = self.administrative == Administrative::Retired;
        self.administrative = match what {
            Administer::Retire => Administrative::Retired,
            _ if retired => return Err(Refused::ClusterRetired),
            Administer::Suspend => {
                if !self.suspended_by.contains(&by) {
                    self.suspended_by.push(by);
                    self.suspended_by.sort_unstable();
                }
                Administrative::Suspended
            }
            Administer::Resume => {
                if self.suspended_by.last().is_some_and(|highest| *highest > by) {
                    return Err(Refused::HeldAbove);
                }
                self.suspended_by.pop();
                if self.suspended_by.is_empty() { Administrative::Active } else { Administrative::Suspended }
            }
        };
        self.state = effective(self.administrative, self.observed);
        Ok(())
    }

    /// Takes over what a heartbeat says that came just now.
    pub fn observe(&mut self, heartbeat: Heartbeat, now_ms: u64) {
        self.observed = heartbeat.observed;
        self.last_heartbeat_at_ms = Some(now_ms);
        self.version = heartbeat.version.or_else(|| self.version.take());
        self.state = effective(self.administrative, self.observed);
    }

    /// Nothing was heard of it for too long.
    pub fn fall_silent(&mut self) {
        self.observed = Observed::Offline;
        self.state = effective(self.administrative, self.observed);
    }
}

/// A cluster to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCluster {
    /// Its id.
    pub id: ClusterId,
    /// Who owns it.
    pub tenant: TenantId,
    /// Where it stands.
    pub placement: Placement,
    /// Its region.
    pub region: Option<String>,
}

/// What an operator may do with a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Administer {
    /// Close it.
    Suspend,
    /// Open it again.
    Resume,
    /// End it for good.
    Retire,
}

/// A heartbeat that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The cluster.
    pub id: ClusterId,
    /// What it says.
    pub observed: Observed,
    /// The version that it reports; `None` leaves what was reported before.
    pub version: Option<String>,
}

/// A cluster that was not heard of for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentCluster {
    /// The cluster.
    pub id: ClusterId,
    /// When it was heard of last.
    pub last_heartbeat_at_ms: Option<u64>,
}

/// Which clusters are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterQuery {
    /// Only those that whoever asks may know of.
    pub reach: Reach,
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only those in this state.
    pub state: Option<ClusterState>,
    /// Ids after this one.
    pub after: String,
    /// At most so many.
    pub limit: usize,
}

/// What the heartbeat path keeps in memory of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCluster {
    /// The cluster.
    pub cluster: Cluster,
    /// SHA-256 of its token.
    pub token_digest: [u8; 32],
}

/// What came of heartbeats that were written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The clusters as they are now.
    pub clusters: Vec<Cluster>,
    /// The snapshot's revision that has them so.
    pub revision: u64,
    /// Grows with every such write, in the order in which they took effect: answers may overtake each
    /// other.
    pub order: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        let id = ClusterId::new("acme").unwrap();
        let tenant = TenantId::new("acme").unwrap();
        Cluster::registered(NewCluster { id, tenant, placement: Placement::OnPremises, region: None }, 7)
    }

    fn heartbeat(observed: Observed, version: Option<&str>) -> Heartbeat {
        let id = ClusterId::new("acme").unwrap();
        Heartbeat { id, observed, version: version.map(str::to_owned) }
    }

    #[test]
    fn a_suspended_cluster_stays_suspended_whatever_it_reports() {
        let mut cluster = cluster();
        cluster.administer(Administer::Suspend, Authority::Platform).unwrap();
        cluster.observe(heartbeat(Observed::Online, None), 5);
        assert_eq!(cluster.state, ClusterState::Suspended);
        cluster.administer(Administer::Resume, Authority::Platform).unwrap();
        assert_eq!(cluster.state, ClusterState::Online, "it is at once what it reports");
    }

    #[test]
    fn retirement_is_final() {
        let mut cluster = cluster();
        cluster.administer(Administer::Retire, Authority::Platform).unwrap();
        cluster.administer(Administer::Retire, Authority::Platform).unwrap();
        for what in [Administer::Suspend, Administer::Resume] {
            assert_eq!(cluster.administer(what, Authority::Platform), Err(Refused::ClusterRetired));
        }
        assert_eq!(cluster.state, ClusterState::Retired);
    }

    #[test]
    fn nobody_opens_what_a_higher_authority_holds_closed() {
        use Administer::{Resume, Suspend};
        use Authority::{Owner, Platform, Tenant};
        let mut cluster = cluster();
        cluster.administer(Suspend, Owner).unwrap();
        cluster.administer(Suspend, Platform).unwrap();
        cluster.administer(Suspend, Platform).unwrap();
        assert_eq!(cluster.suspended_by, [Owner, Platform]);
        for lower in [Owner, Tenant] {
            assert_eq!(cluster.administer(Resume, lower), Err(Refused::HeldAbove));
        }
        cluster.administer(Resume, Platform).unwrap();
        assert_eq!((cluster.state, cluster.suspended_by.as_slice()), (ClusterState::Suspended, &[Owner][..]));
        cluster.administer(Suspend, Tenant).unwrap();
        assert_eq!(cluster.administer(Resume, Owner), Err(Refused::HeldAbove));
        cluster.administer(Resume, Tenant).unwrap();
        cluster.administer(Resume, Owner).unwrap();
        assert_eq!((cluster.state, cluster.suspended_by.len()), (ClusterState::Pending, 0));
        cluster.administer(Resume, Owner).unwrap();
        assert_eq!(cluster.state, ClusterState::Pending, "there is nothing to take back");
    }

    #[test]
    fn what_a_heartbeat_leaves_out_stays() {
        let mut cluster = cluster();
        cluster.observe(heartbeat(Observed::Online, Some("1.2")), 4);
        cluster.observe(heartbeat(Observed::Degraded, None), 5);
        cluster.fall_silent();
        assert_eq!((cluster.version.as_deref(), cluster.last_heartbeat_at_ms), (Some("1.2"), Some(5)));
        assert_eq!(cluster.state, ClusterState::Offline);
    }

    #[test]
    fn a_name_reads_back() {
        for placement in [Placement::PlatformHosted, Placement::OnPremises] {
            assert_eq!(placement.as_str().parse(), Ok(placement));
            assert_eq!(serde_json::to_value(placement).unwrap(), placement.as_str());
        }
        assert_eq!("elsewhere".parse::<Placement>(), Err(UnknownText));
    }
}
