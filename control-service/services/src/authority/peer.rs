//! Whoever proved by a certificate who they are.

use portcullis_protocol::audit::hex;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::request::ALTERNATIVE_NAMES;

/// The certificate of a connection. That it was issued here and is good was looked at in the handshake; whether it is good
/// still, and for which cluster, the store says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_digest: [u8; 32],
    /// The one name that it has.
    pub name: String,
}

impl Peer {
    /// Reads a certificate; `None` of one that does not name exactly one DNS name.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
        let extensions = certificate.extensions.as_deref().unwrap_or_default();
        let mut of_names = extensions.iter().filter(|extension| extension.extn_id == ALTERNATIVE_NAMES);
        let (extension, None) = (of_names.next()?, of_names.next()) else { return None };
        let SubjectAltName(names) = SubjectAltName::from_der(extension.extn_value.as_bytes()).ok()?;
        let [GeneralName::DnsName(name)] = names.as_slice() else { return None };
        let key = certificate.subject_public_key_info.to_der().ok()?;
        Some(Self {
            serial: hex(certificate.serial_number.as_bytes()),
            key_digest: Sha256::digest(key).into(),
            name: name.to_string(),
        })
    }
}
