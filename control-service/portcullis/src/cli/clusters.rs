//! Commands about data clusters.

use clap::Subcommand;
use clap::builder::TypedValueParser;
use portcullis_control_contract::clusters::{
    ClusterChanged, ClusterList, ClusterListQuery, Registered, Registration,
};
use portcullis_control_domain::cluster::Placement;
use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::decision::ClusterState;

use super::client::{Call, Change, ClientError, Connection, MOST, change, one_of, run};

/// Clusters.
#[derive(Debug, Subcommand)]
pub(super) enum Clusters {
    /// Register a data cluster; prints its own token once.
    Register {
        /// Its id: a DNS label.
        id: ClusterId,
        /// The tenant that owns it.
        #[arg(long)]
        tenant: TenantId,
        /// Where it stands.
        #[arg(long, default_value = Placement::OnPremises.as_str(), value_parser = placement())]
        placement: Placement,
        /// Its region.
        #[arg(long)]
        region: Option<String>,
    },
    /// List clusters.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
        /// Only those in this state.
        #[arg(long, value_parser = state())]
        state: Option<ClusterState>,
    },
    /// Close a cluster at every proxy.
    Suspend(Change),
    /// Open it again.
    Resume(Change),
    /// End it for good; its id is never used again.
    Retire(Change),
}

fn placement() -> impl TypedValueParser<Value = Placement> {
    one_of(Placement::ALL.iter().map(|placement| (placement.as_str(), *placement)).collect())
}

fn state() -> impl TypedValueParser<Value = ClusterState> {
    use ClusterState::{Degraded, Offline, Online, Pending, Retired, Suspended};
    one_of([Pending, Online, Degraded, Offline, Suspended, Retired].map(|s| (s.as_str(), s)).to_vec())
}

/// Runs a command about clusters.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn clusters(connection: &Connection, command: Clusters) -> Result<(), ClientError> {
    let of = |call: Call| change::<ClusterChanged>(connection, call);
    match command {
        Clusters::Register { id, tenant, placement, region } => {
            let registration = Registration { id, tenant, placement, region };
            run::<Registered>(connection, Call::post(&["v1", "clusters"]).body(&registration)).await
        }
        Clusters::List { tenant, state } => {
            let query = ClusterListQuery { tenant, state, limit: MOST, ..ClusterListQuery::default() };
            run::<ClusterList>(connection, Call::get(&["v1", "clusters"]).query(&query)).await
        }
        Clusters::Suspend(Change { id, wait }) => {
            of(Call::post(&["v1", "clusters", &id, "suspend"]).wait(wait)).await
        }
        Clusters::Resume(Change { id, wait }) => {
            of(Call::post(&["v1", "clusters", &id, "resume"]).wait(wait)).await
        }
        Clusters::Retire(Change { id, wait }) => of(Call::delete(&["v1", "clusters", &id]).wait(wait)).await,
    }
}
