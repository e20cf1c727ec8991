//! Commands about data clusters.

use clap::Subcommand;
use clap::builder::TypedValueParser;
use portcullis_control_contract::clusters::{
    ClusterChanged, ClusterList, ClusterListQuery, ClusterShown, Registered, Registration, Suspension,
};
use portcullis_control_domain::cluster::Placement;
use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_model::decision::ClusterState;

use super::client::{Call, Change, ClientError, Connection, MOST, change, one_of, run};
use super::enrolment;
use super::watch::watch;

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
    /// Show a cluster, with who holds it closed and why.
    Show {
        /// Its id.
        id: String,
    },
    /// Print the states of clusters, and every change as it happens, one a line, until it is stopped.
    Watch,
    /// Close a cluster at every proxy, on behalf of your side: platform, tenant or owner.
    Suspend {
        #[command(flatten)]
        change: Change,
        /// Why, for the people who ask; the others of the platform, of the tenant and the owner see it.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let go of what your side has closed; the cluster opens when no side holds it.
    Resume(Change),
    /// Make a token by which the cluster's agent joins; prints it once.
    JoinToken {
        /// The cluster.
        id: ClusterId,
        /// Seconds for which it is good, up to 7 days; an hour unless given.
        #[arg(long)]
        expires_in: Option<u64>,
    },
    /// List its join tokens.
    JoinTokens {
        /// The cluster.
        id: ClusterId,
    },
    /// Revoke a join token.
    RevokeJoinToken {
        /// The token's id: its second part.
        token: String,
    },
    /// List the certificates that its agents were given.
    Certificates {
        /// The cluster.
        id: ClusterId,
    },
    /// Revoke its certificates, at once: its agents have to join again.
    RevokeCertificates {
        /// The cluster.
        id: ClusterId,
        /// The serial number of the only one that is meant.
        #[arg(long)]
        serial: Option<String>,
    },
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
        Clusters::JoinToken { id, expires_in } => {
            enrolment::join_token(connection, id.as_str(), expires_in).await
        }
        Clusters::JoinTokens { id } => enrolment::join_tokens(connection, id.as_str()).await,
        Clusters::RevokeJoinToken { token } => enrolment::revoke_join_token(connection, &token).await,
        Clusters::Certificates { id } => enrolment::certificates(connection, id.as_str()).await,
        Clusters::RevokeCertificates { id, serial } => {
            enrolment::revoke_certificates(connection, id.as_str(), serial).await
        }
        Clusters::Watch => watch(connection).await,
        Clusters::Show { id } => run::<ClusterShown>(connection, Call::get(&["v1", "clusters", &id])).await,
        Clusters::Suspend { change: Change { id, wait }, reason } => {
            let call = Call::post(&["v1", "clusters", &id, "suspend"]).wait(wait);
            of(call.body(&Suspension { reason })).await
        }
        Clusters::Resume(Change { id, wait }) => {
            of(Call::post(&["v1", "clusters", &id, "resume"]).wait(wait)).await
        }
        Clusters::Retire(Change { id, wait }) => of(Call::delete(&["v1", "clusters", &id]).wait(wait)).await,
    }
}
