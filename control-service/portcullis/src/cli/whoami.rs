//! `portcullis whoami`.

use portcullis_control_contract::callers::WhoAmI;

use super::client::{Call, ClientError, Connection, run};

/// Shows who calls, and what they may.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn whoami(connection: &Connection) -> Result<(), ClientError> {
    run::<WhoAmI>(connection, Call::get(&["v1", "whoami"])).await
}
