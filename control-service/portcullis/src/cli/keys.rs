//! Commands about API keys.

use clap::Subcommand;
use portcullis_control_contract::TenantListQuery;
use portcullis_control_contract::keys::{
    KeyCreated, KeyCreation, KeyList, KeyRevoked, KeyRotated, KeyRotationRequest,
};
use portcullis_identity::SourceType;
use portcullis_identity::ids::{Role, Scope, Subject, TenantId};

use super::client::{Call, Change, ClientError, Connection, MOST, change, run};
use super::test_identity::source_type;

/// API keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a key; prints it once.
    Create {
        /// The tenant it belongs to.
        #[arg(long)]
        tenant: TenantId,
        /// Whom it speaks for.
        #[arg(long)]
        subject: Subject,
        /// human, worker or `mcp_agent`.
        #[arg(long, value_parser = source_type)]
        source_type: SourceType,
        /// A role; may be given several times.
        #[arg(long = "role")]
        roles: Vec<Role>,
        /// A scope; may be given several times.
        #[arg(long = "scope")]
        scopes: Vec<Scope>,
        /// Seconds until it ends.
        #[arg(long)]
        expires_in: Option<u64>,
    },
    /// List keys.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Make a key in the place of another one; prints it once. The new one is good at a proxy as soon as that has the
    /// change. Without --overlap the old one is refused there from the same moment on, and who uses it has no time to
    /// take the new one.
    Rotate {
        /// The key to be replaced.
        id: String,
        /// Seconds for which the old key stays good, up to 30 days.
        #[arg(long, default_value_t = 0)]
        overlap: u64,
        /// Seconds until the new key ends; without it, it lives as long as the old one was made to.
        #[arg(long)]
        expires_in: Option<u64>,
        /// Seconds to wait until every proxy has the change, up to 30.
        #[arg(long, default_value_t = 0)]
        wait: u64,
    },
    /// Revoke a key.
    Revoke(Change),
}

/// Runs a command about API keys.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn keys(connection: &Connection, command: Keys) -> Result<(), ClientError> {
    match command {
        Keys::Create { tenant, subject, source_type, roles, scopes, expires_in } => {
            let (roles, scopes) = (roles.into_iter().collect(), scopes.into_iter().collect());
            let key = KeyCreation { tenant, subject, source_type, roles, scopes, expires_in_s: expires_in };
            run::<KeyCreated>(connection, Call::post(&["v1", "api-keys"]).body(&key)).await
        }
        Keys::List { tenant } => {
            let query = TenantListQuery { tenant, limit: MOST, ..TenantListQuery::default() };
            run::<KeyList>(connection, Call::get(&["v1", "api-keys"]).query(&query)).await
        }
        Keys::Rotate { id, overlap, expires_in, wait } => {
            let how = KeyRotationRequest { overlap_s: overlap, expires_in_s: expires_in };
            let call = Call::post(&["v1", "api-keys", &id, "rotate"]).wait(wait).body(&how);
            change::<KeyRotated>(connection, call).await
        }
        Keys::Revoke(Change { id, wait }) => {
            change::<KeyRevoked>(connection, Call::delete(&["v1", "api-keys", &id]).wait(wait)).await
        }
    }
}
