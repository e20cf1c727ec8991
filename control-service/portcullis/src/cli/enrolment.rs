//! Commands about join tokens and certificates of clusters.

use portcullis_control_contract::ListQuery;
use portcullis_control_contract::agents::{
    CertificateList, CertificateRevocation, CertificatesRevoked, JoinToken, JoinTokenCreated,
    JoinTokenCreation, JoinTokenList,
};

use super::client::{Call, ClientError, Connection, MOST, run};

/// Makes a join token.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn join_token(
    connection: &Connection,
    id: &str,
    expires_in_s: Option<u64>,
) -> Result<(), ClientError> {
    let call = Call::post(&["v1", "clusters", id, "join-tokens"]).body(&JoinTokenCreation { expires_in_s });
    run::<JoinTokenCreated>(connection, call).await
}

/// Lists join tokens.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn join_tokens(connection: &Connection, id: &str) -> Result<(), ClientError> {
    let query = ListQuery { limit: MOST, ..ListQuery::default() };
    run::<JoinTokenList>(connection, Call::get(&["v1", "clusters", id, "join-tokens"]).query(&query)).await
}

/// Revokes a join token.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn revoke_join_token(connection: &Connection, token: &str) -> Result<(), ClientError> {
    run::<JoinToken>(connection, Call::delete(&["v1", "join-tokens", token])).await
}

/// Lists certificates.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn certificates(connection: &Connection, id: &str) -> Result<(), ClientError> {
    let query = ListQuery { limit: MOST, ..ListQuery::default() };
    run::<CertificateList>(connection, Call::get(&["v1", "clusters", id, "certificates"]).query(&query)).await
}

/// Revokes certificates.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn revoke_certificates(
    connection: &Connection,
    id: &str,
    serial: Option<String>,
) -> Result<(), ClientError> {
    let call = Call::post(&["v1", "clusters", id, "certificates", "revoke"]);
    run::<CertificatesRevoked>(connection, call.body(&CertificateRevocation { serial })).await
}
