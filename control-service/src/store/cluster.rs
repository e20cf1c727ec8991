//! What a data cluster is, and how its state follows from operators and heartbeats.
//!
//! What an operator said (`administrative`) and what heartbeats say (`observed`) are kept apart, so that
//! a suspended cluster stays suspended whatever it reports, and a resumed one is at once what it reports.

use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::decision::ClusterState;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(match self { $(Self::$variant => $text.into(),)* })
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? { $($text => Ok(Self::$variant),)* _ => Err(FromSqlError::InvalidType) }
            }
        }
    };
}

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    /// Who owns it.
    pub tenant: TenantId,
    /// Where it stands.
    pub placement: Placement,
    /// Its region, if it was given.
    pub region: Option<String>,
    /// What filters enforce.
    pub state: ClusterState,
    /// What its heartbeats say.
    pub observed: Observed,
    /// What operators say.
    pub administrative: Administrative,
    /// The version that it reported last.
    pub version: Option<String>,
    /// When it was registered, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Its last heartbeat, as far as written down: up to ten seconds behind.
    pub last_heartbeat_at_ms: Option<u64>,
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
    /// When it came; `None` for a change that the service itself makes.
    pub at_ms: Option<u64>,
}

/// Which clusters are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterQuery {
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
