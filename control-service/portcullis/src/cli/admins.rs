//! Commands about administrators.

use clap::Subcommand;
use portcullis_control_contract::ListQuery;
use portcullis_control_contract::administrators::{
    AdministratorCreated, AdministratorCreation, AdministratorList, AdministratorRevoked,
};

use super::client::{Call, ClientError, Connection, MOST, run};

/// Administrators.
#[derive(Debug, Subcommand)]
pub(super) enum Admins {
    /// Make another administrator; prints its token once.
    Create {
        /// Seconds until its token ends.
        #[arg(long)]
        expires_in: Option<u64>,
    },
    /// List administrators.
    List,
    /// Revoke an administrator's token; the last good one cannot be.
    Revoke {
        /// Its id: the second part of its token.
        id: String,
    },
}

/// Runs a command about administrators.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn admins(connection: &Connection, command: Admins) -> Result<(), ClientError> {
    let administrators = ["v1", "administrators"];
    match command {
        Admins::Create { expires_in: expires_in_s } => {
            let call = Call::post(&administrators).body(&AdministratorCreation { expires_in_s });
            run::<AdministratorCreated>(connection, call).await
        }
        Admins::List => {
            let query = ListQuery { limit: MOST, ..ListQuery::default() };
            run::<AdministratorList>(connection, Call::get(&administrators).query(&query)).await
        }
        Admins::Revoke { id } => {
            run::<AdministratorRevoked>(connection, Call::delete(&["v1", "administrators", &id])).await
        }
    }
}
