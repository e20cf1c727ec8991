//! Commands about administrators.

use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use super::client::{Call, ClientError, Connection, run};

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
    let call = match command {
        Admins::Create { expires_in } => Call::new(Method::POST, &["v1", "administrators"])
            .body([("expires_in_s", expires_in.map(Value::from))]),
        Admins::List => Call::new(Method::GET, &["v1", "administrators"]).query("limit", Some(1000)),
        Admins::Revoke { id } => Call::new(Method::DELETE, &["v1", "administrators", &id]),
    };
    run(connection, call).await
}
