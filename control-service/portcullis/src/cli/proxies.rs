//! The command about proxies.

use portcullis_control_contract::audit::ProxyList;

use super::client::{Call, ClientError, Connection, run};

/// Shows which worker of which proxy has which revision.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn proxies(connection: &Connection) -> Result<(), ClientError> {
    run::<ProxyList>(connection, Call::get(&["v1", "proxies"])).await
}
