//! What an agent reads in certificates.

use portcullis_control_domain::enrolment::RootPin;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is not one.
    #[error("it is no certificate in PEM")]
    NotOne,
    /// It names something else than one cluster.
    #[error("it names {0}, where it must name one cluster and nothing else")]
    Names(String),
    /// It is for another key.
    #[error("it is for another key than the agent's")]
    OtherKey,
}

/// What matters to an agent of its own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The cluster that it names.
    pub cluster: String,
    /// Who issued it.
    pub issuer: String,
    /// From when on it is good, seconds since the Unix epoch.
    pub not_before: u64,
    /// Until when it is good, seconds since the Unix epoch.
    pub not_after: u64,
    /// Its SubjectPublicKeyInfo in DER.
    pub key: Vec<u8>,
}

impl Facts {
    /// Those of the first certificate in a chain (PEM).
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn read(chain: &str) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).map_err(|_| CertificateError::NotOne)?;
        let certificate = Certificate::from_der(&der).map_err(|_| CertificateError::NotOne)?.tbs_certificate;
        let names = certificate.get::<SubjectAltName>().map_err(|_| CertificateError::NotOne)?;
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        let [GeneralName::DnsName(cluster)] = names.as_slice() else {
            return Err(CertificateError::Names(format!("{} names", names.len())));
        };
        Ok(Self {
            cluster: cluster.as_str().to_owned(),
            issuer: certificate.issuer.to_string(),
            not_before: certificate.validity.not_before.to_unix_duration().as_secs(),
            not_after: certificate.validity.not_after.to_unix_duration().as_secs(),
            key: certificate.subject_public_key_info.to_der().map_err(|_| CertificateError::NotOne)?,
        })
    }

    /// Says that it is for this key.
    ///
    /// # Errors
    /// [`CertificateError::OtherKey`].
    pub fn is_for(&self, key: &rcgen::KeyPair) -> Result<(), CertificateError> {
        let own = rcgen::PublicKeyData::subject_public_key_info(key);
        if self.key == own { Ok(()) } else { Err(CertificateError::OtherKey) }
    }
}

/// Says that a bundle (PEM) has certificates, and nothing that is none.
///
/// # Errors
/// [`CertificateError::NotOne`].
pub(crate) fn check_bundle(bundle: &str) -> Result<(), CertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle.as_bytes()).collect();
    let all = all.map_err(|_| CertificateError::NotOne)?;
    let sound = !all.is_empty() && all.iter().all(|der| pin(der).is_some());
    if sound { Ok(()) } else { Err(CertificateError::NotOne) }
}

/// The pin of a certificate's key; none where it cannot be read.
pub(crate) fn pin(der: &CertificateDer<'_>) -> Option<RootPin> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    Some(RootPin::of_spki(&certificate.subject_public_key_info.to_der().ok()?))
}

/// Who issued a certificate, as people know them.
pub(crate) fn issuer(der: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    Some(certificate.issuer.to_string()).filter(|name| !name.is_empty())
}
