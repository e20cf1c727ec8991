//! What a data cluster is, and how its state follows from operators and signals.
//!
//! What operators said (`administrative`) and what signals say (`observed`) are kept apart, so that a suspended cluster
//! stays suspended whatever it reports, and a resumed one is at once what it reports.

use crate::schema;
use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::decision::ClusterState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::caller::{Authority, Reach};
use crate::hold::{HoldReason, Holds, Word};
pub use crate::signal::Observed;
use crate::signal::{Required, Rules, Said, SignalName, SignalValue, Signals, Standing, wanted};
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
/// The state that filters enforce.
#[must_use]
pub fn effective(administrative: Administrative, observed: Observed) -> ClusterState {
    match (administrative, observed) {
        (Administrative::Retired, _) => ClusterState::Retired,
        (Administrative::Suspended, _) => ClusterState::Suspended,
        (Administrative::Active, observed) => observed.into(),
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
    /// What its signals say.
    pub observed: Observed,
    /// Since when, milliseconds since the Unix epoch by the database's clock; null while it is pending.
    #[serde(default)]
    pub observed_since_ms: Option<u64>,
    /// The signal that made it so.
    #[serde(default)]
    pub observed_by: Option<SignalName>,
    /// What each signal said last.
    #[serde(skip)]
    pub signals: Signals,
    /// Until when recoveries are used up.
    #[serde(skip)]
    pub recovers_ms: u64,
    /// What operators say.
    pub administrative: Administrative,
    /// The sides that have suspended it, the highest last: it opens again when all of them have taken that back.
    #[serde(default)]
    pub suspended_by: Vec<Authority>,
    /// The same, with author, reason and time.
    #[serde(default)]
    pub holds: Holds,
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
            observed_since_ms: None,
            observed_by: None,
            signals: Signals::default(),
            recovers_ms: 0,
            administrative: Administrative::Active,
            suspended_by: Vec::new(),
            holds: Holds::default(),
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

    /// Does what an operator wants, by this word.
    ///
    /// # Errors
    /// [`Refused::ClusterRetired`]: retirement is final. [`Refused::HeldAbove`], [`Refused::HeldBelow`]: the caller's side
    /// has not suspended it, and others have.
    pub fn administer(&mut self, what: Administer, word: Word) -> Result<(), Refused> {
        match what {
            Administer::Retire => self.holds = Holds::default(),
            _ if self.administrative == Administrative::Retired => return Err(Refused::ClusterRetired),
            Administer::Suspend(ref reason) => self.holds.add(word, reason.clone()),
            Administer::Resume => self.holds.lift(word.side)?,
        }
        self.administrative = match what {
            Administer::Retire => Administrative::Retired,
            _ if self.holds.is_empty() => Administrative::Active,
            _ => Administrative::Suspended,
        };
        self.suspended_by = self.holds.sides().collect();
        self.state = effective(self.administrative, self.observed);
        Ok(())
    }

    /// As somebody of this reach sees it.
    #[must_use]
    pub fn shown_to(mut self, reach: &Reach) -> Self {
        self.holds.hide_from(reach.authority());
        self
    }

    /// Takes over what a heartbeat says that came just now.
    pub fn observe(&mut self, heartbeat: Heartbeat, now_ms: u64) {
        let said = Said { value: heartbeat.said, at_ms: now_ms, source: String::new() };
        self.signals.say(SignalName::Heartbeat, said);
        self.last_heartbeat_at_ms = Some(now_ms);
        self.version = heartbeat.version.or_else(|| self.version.take());
    }

    /// Nothing was heard of it for too long.
    pub fn fall_silent(&mut self) {
        let at_ms = self.last_heartbeat_at_ms.unwrap_or_default();
        let said = Said { value: SignalValue::Bad, at_ms, source: String::new() };
        self.signals.say(SignalName::Heartbeat, said);
    }

    /// Which signals count of it.
    #[must_use]
    pub fn required(&self, rules: &Rules) -> Required {
        match self.placement {
            Placement::PlatformHosted => rules.platform_hosted,
            Placement::OnPremises => rules.on_premises,
        }
    }

    /// What follows from its signals, of which this one has just said something; true when that is something else than
    /// before.
    pub fn judge(&mut self, by: SignalName, rules: &Rules, now_ms: u64) -> bool {
        let standing = Standing {
            observed: self.observed,
            since_ms: self.observed_since_ms,
            cause: self.observed_by,
            recovers_ms: self.recovers_ms,
        };
        let Some(after) = standing.after((&self.signals, by), self.required(rules), rules.recoveries, now_ms)
        else {
            return false;
        };
        (self.observed, self.observed_since_ms) = (after.observed, after.since_ms);
        (self.observed_by, self.recovers_ms) = (after.cause, after.recovers_ms);
        self.state = effective(self.administrative, self.observed);
        true
    }

    /// Whether its signals say something else than what is observed: it may not get better again so soon.
    #[must_use]
    pub fn is_held_back(&self, rules: &Rules) -> bool {
        wanted(self.observed, &self.signals, self.required(rules)) != self.observed
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Administer {
    /// Hold it closed, for this reason.
    Suspend(Option<HoldReason>),
    /// Let go of it.
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
    pub said: SignalValue,
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

    fn word(side: Authority) -> Word {
        Word { side, by: None, at_ms: 7 }
    }

    fn heartbeat(said: SignalValue, version: Option<&str>) -> Heartbeat {
        let id = ClusterId::new("acme").unwrap();
        Heartbeat { id, said, version: version.map(str::to_owned) }
    }

    #[test]
    fn a_suspended_cluster_stays_suspended_whatever_it_reports() {
        let mut cluster = cluster();
        cluster.administer(Administer::Suspend(None), word(Authority::Platform)).unwrap();
        cluster.observe(heartbeat(SignalValue::Good, None), 5);
        assert!(cluster.judge(SignalName::Heartbeat, &Rules::default(), 5));
        assert_eq!(cluster.state, ClusterState::Suspended);
        cluster.administer(Administer::Resume, word(Authority::Platform)).unwrap();
        assert_eq!(cluster.state, ClusterState::Online, "it is at once what it reports");
    }

    #[test]
    fn retirement_is_final_and_ends_every_hold() {
        let mut cluster = cluster();
        cluster.administer(Administer::Suspend(None), word(Authority::Owner)).unwrap();
        cluster.administer(Administer::Retire, word(Authority::Platform)).unwrap();
        cluster.administer(Administer::Retire, word(Authority::Platform)).unwrap();
        assert!(cluster.holds.is_empty() && cluster.suspended_by.is_empty());
        for what in [Administer::Suspend(None), Administer::Resume] {
            assert_eq!(cluster.administer(what, word(Authority::Platform)), Err(Refused::ClusterRetired));
        }
        assert_eq!(cluster.state, ClusterState::Retired);
    }

    #[test]
    fn a_cluster_opens_when_the_last_side_lets_go() {
        use Administer::{Resume, Suspend};
        use Authority::{Owner, Platform, Tenant};
        let mut cluster = cluster();
        for side in [Platform, Owner, Platform] {
            cluster.administer(Suspend(None), word(side)).unwrap();
        }
        assert_eq!(cluster.suspended_by, [Owner, Platform]);
        assert_eq!(cluster.administer(Resume, word(Tenant)), Err(Refused::HeldAbove));
        cluster.administer(Resume, word(Platform)).unwrap();
        assert_eq!((cluster.state, cluster.suspended_by.as_slice()), (ClusterState::Suspended, &[Owner][..]));
        for other in [Platform, Tenant] {
            assert_eq!(cluster.administer(Resume, word(other)), Err(Refused::HeldBelow));
        }
        cluster.administer(Resume, word(Owner)).unwrap();
        assert_eq!((cluster.state, cluster.administrative), (ClusterState::Pending, Administrative::Active));
        cluster.administer(Resume, word(Owner)).unwrap();
        assert_eq!(cluster.state, ClusterState::Pending, "there is nothing to take back");
    }

    #[test]
    fn what_a_heartbeat_leaves_out_stays() {
        let mut cluster = cluster();
        for (said, version) in [(SignalValue::Good, Some("1.2")), (SignalValue::Degraded, None)] {
            cluster.observe(heartbeat(said, version), 5);
            assert!(cluster.judge(SignalName::Heartbeat, &Rules::default(), 5));
        }
        cluster.fall_silent();
        assert!(cluster.judge(SignalName::Heartbeat, &Rules::default(), 9));
        assert_eq!((cluster.observed_since_ms, cluster.observed_by), (Some(9), Some(SignalName::Heartbeat)));
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
