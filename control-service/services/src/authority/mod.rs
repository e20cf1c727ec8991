//! The authority that issues certificates to data clusters, and what those certificates are.
//!
//! The service has one of its own ([`OwnAuthority`]). Another one can stand in its place: whatever signs a certificate of
//! the given names and times for the given key, and says which certificates are good no more. Who may have a certificate,
//! what it says and which were revoked is not its business: the service decides that, and writes it down.

mod material;
mod own;
mod peer;
mod request;

use std::time::Duration;

use portcullis_control_domain::enrolment::{RevokedCertificate, RootPin, SignedCertificate};
use portcullis_identity::ids::ClusterId;

pub use material::ServerMaterial;
pub(crate) use material::pem;
pub use own::OwnAuthority;
pub use peer::Peer;
pub use request::{Request, RequestError};

/// A certificate that is to be signed.
#[derive(Debug)]
pub struct Order<'a> {
    /// Whom it names: its only subject alternative name, a DNS name.
    pub cluster: &'a ClusterId,
    /// The key that it is for.
    pub request: &'a Request,
    /// For how long it is to be good.
    pub lifetime: Duration,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Why nothing was signed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the authority of certificates failed: {0}")]
pub struct AuthorityError(pub String);

/// Signs certificates and lists of those that were revoked.
///
/// An authority must take the names and times of the order, must give each certificate a serial number of 16 random bytes
/// of its own, and must allow nothing by it but the authentication of clients.
pub trait Authority: Send + Sync + 'static {
    /// Signs a certificate. It is not given out before it is written down.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn sign(&self, order: &Order<'_>) -> Result<SignedCertificate, AuthorityError>;

    /// The list of what was revoked (RFC 5280 §5), in DER. A later list has a greater number.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn revocation_list(
        &self,
        revoked: &[RevokedCertificate],
        number: u64,
        now_ms: u64,
    ) -> Result<Vec<u8>, AuthorityError>;

    /// The roots of what it has signed and what is still good, in DER.
    fn roots(&self) -> Vec<Vec<u8>>;

    /// What a server of these names shows to agents, and the root that proves it.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn server(&self, names: &[String], now_ms: u64) -> Result<(ServerMaterial, RootPin), AuthorityError>;
}
