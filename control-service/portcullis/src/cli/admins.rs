//! Commands about tokens of the platform API.

use clap::Subcommand;
use clap::builder::TypedValueParser;
use portcullis_control_contract::ListQuery;
use portcullis_control_contract::administrators::{
    AdministratorCreated, AdministratorCreation, AdministratorList, AdministratorRevocation,
    AdministratorRevoked,
};
use portcullis_control_domain::caller::RoleName;
use portcullis_identity::ids::{ClusterId, TenantId};

use super::client::{Call, ClientError, Connection, MOST, one_of, run};

/// Tokens of the platform API.
#[derive(Debug, Subcommand)]
pub(super) enum Admins {
    /// Make another token, of no more than your own role may do; prints it once.
    Create {
        /// What it may do.
        #[arg(long, default_value = "administrator", value_parser = role())]
        role: RoleName,
        /// The tenant of a tenant-admin or cluster-owner, or to which an auditor is bound.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// The cluster of a cluster-owner.
        #[arg(long)]
        cluster: Option<ClusterId>,
        /// Seconds until its token ends.
        #[arg(long)]
        expires_in: Option<u64>,
    },
    /// List tokens.
    List,
    /// Revoke a token; the last good one of an administrator cannot be.
    Revoke {
        /// Its id: the second part of its token.
        id: String,
        /// Also revoke all tokens that it made, and those that these made.
        #[arg(long)]
        with_made: bool,
    },
}

fn role() -> impl TypedValueParser<Value = RoleName> {
    one_of(RoleName::ALL.iter().map(|role| (role.as_str(), *role)).collect())
}

/// Runs a command about tokens of the platform API.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn admins(connection: &Connection, command: Admins) -> Result<(), ClientError> {
    let administrators = ["v1", "administrators"];
    match command {
        Admins::Create { role, tenant, cluster, expires_in: expires_in_s } => {
            let creation = AdministratorCreation { role: Some(role), tenant, cluster, expires_in_s };
            let call = Call::post(&administrators).body(&creation);
            run::<AdministratorCreated>(connection, call).await
        }
        Admins::List => {
            let query = ListQuery { limit: MOST, ..ListQuery::default() };
            run::<AdministratorList>(connection, Call::get(&administrators).query(&query)).await
        }
        Admins::Revoke { id, with_made } => {
            let query = AdministratorRevocation { with_made };
            let call = Call::delete(&["v1", "administrators", &id]).query(&query);
            run::<AdministratorRevoked>(connection, call).await
        }
    }
}
