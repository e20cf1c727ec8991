//! Requests for certificates (RFC 2986). Of one that is sound the public key is taken over, and nothing else.

use portcullis_control_domain::enrolment::MAX_REQUEST_BYTES;
use portcullis_identity::ids::ClusterId;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_cert::attr::Attribute;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Bytes of an uncompressed point of P-256.
const POINT: usize = 65;
/// `id-ecPublicKey` and `secp256r1` (RFC 5480 §2.1).
const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// `ecdsa-with-SHA256` (RFC 5758 §3.2).
const BY_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// `extensionRequest` (RFC 2985 §5.4.2).
const EXTENSIONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
/// `subjectAltName` (RFC 5280 §4.2.1.6).
pub(super) const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// What is wrong with a request for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is none.
    #[error("csr: is no certificate signing request in PEM (RFC 2986)")]
    Unreadable,
    /// Its key is of a kind that is not certified.
    #[error(
        "csr: its key is not one of the curve P-256, the only kind that gets a certificate; make such a key"
    )]
    Key,
    /// It was not signed by its own key.
    #[error("csr: its signature was not made by its own key, or not with SHA-256")]
    Signature,
    /// It names somebody else.
    #[error(
        "csr: it asks for a name that is not the cluster's; leave subject alternative names out, the service writes the \
         right one"
    )]
    Name,
}

/// A request that was signed by its own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    point: Vec<u8>,
    key_digest: [u8; 32],
    names: Vec<String>,
}

impl Request {
    /// Reads a request and verifies its signature.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn read(pem: &str) -> Result<Self, RequestError> {
        if pem.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::Unreadable);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|_| RequestError::Unreadable)?;
        let request = CertReq::from_der(&der).map_err(|_| RequestError::Unreadable)?;
        let point = point_of(&request.info.public_key).ok_or(RequestError::Key)?;
        let written = |error: x509_cert::der::Result<Vec<u8>>| error.map_err(|_| RequestError::Unreadable);
        // What was read is written again: whatever another reader would have read otherwise does not verify.
        let signed = written(request.info.to_der())?;
        let signature = request.signature.as_bytes().unwrap_or_default();
        // This looks whether the point is on the curve, too.
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
        if request.algorithm.oid != BY_SHA256 || key.verify(&signed, signature).is_err() {
            return Err(RequestError::Signature);
        }
        let mut names = Vec::new();
        for attribute in request.info.attributes.iter().filter(|attribute| attribute.oid == EXTENSIONS) {
            names.extend(names_of(attribute).map_err(|_| RequestError::Unreadable)?);
        }
        let key_digest = Sha256::digest(written(request.info.public_key.to_der())?).into();
        Ok(Self { point: point.to_vec(), key_digest, names })
    }

    /// Whether it asks for no other name than the cluster's.
    ///
    /// # Errors
    /// [`RequestError::Name`].
    pub fn is_of(&self, cluster: &ClusterId) -> Result<(), RequestError> {
        let own = self.names.iter().all(|name| name == cluster.as_str());
        if own { Ok(()) } else { Err(RequestError::Name) }
    }

    /// The public key: an uncompressed point of P-256.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        self.key_digest
    }
}

/// The point of a key, if it is an uncompressed one of P-256.
fn point_of(key: &SubjectPublicKeyInfoOwned) -> Option<&[u8]> {
    let curve = key.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok()?;
    let point = key.subject_public_key.as_bytes()?;
    let fits = point.len() == POINT && point.first() == Some(&4);
    (key.algorithm.oid == EC_KEY && curve == P256 && fits).then_some(point)
}

/// The names that are asked for; one that is no DNS name is nobody's.
fn names_of(attribute: &Attribute) -> x509_cert::der::Result<Vec<String>> {
    let mut found = Vec::new();
    for value in attribute.values.iter() {
        for extension in value.decode_as::<Vec<Extension>>()? {
            if extension.extn_id == ALTERNATIVE_NAMES {
                let SubjectAltName(names) = SubjectAltName::from_der(extension.extn_value.as_bytes())?;
                found.extend(names.iter().map(|name| match name {
                    GeneralName::DnsName(name) => name.to_string(),
                    _ => String::new(),
                }));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn csr(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> (String, KeyPair) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let request = CertificateParams::new(names).unwrap().serialize_request(&key).unwrap();
        (request.pem().unwrap(), key)
    }

    #[test]
    fn a_request_gives_its_key_and_names_the_cluster_or_nobody() {
        use rcgen::PublicKeyData;
        let cluster = ClusterId::new("acme").unwrap();
        for (names, fits) in
            [(&[][..], true), (&["acme"], true), (&["acme", "globex"], false), (&["*"], false)]
        {
            let (pem, key) = csr(names, &PKCS_ECDSA_P256_SHA256);
            let request = Request::read(&pem).unwrap();
            assert_eq!(request.point(), key.der_bytes());
            let digest: [u8; 32] = Sha256::digest(key.subject_public_key_info()).into();
            assert_eq!(request.key_digest(), digest);
            assert_eq!(request.is_of(&cluster).is_ok(), fits, "{names:?}");
        }
        let (address, _) = csr(&["127.0.0.1"], &PKCS_ECDSA_P256_SHA256);
        assert_eq!(Request::read(&address).unwrap().is_of(&cluster), Err(RequestError::Name));
    }

    #[test]
    fn keys_of_other_kinds_get_no_certificate() {
        for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            assert_eq!(Request::read(&csr(&[], algorithm).0), Err(RequestError::Key));
        }
    }

    #[test]
    fn a_request_that_was_changed_or_is_none_is_refused() {
        let (pem, _) = csr(&["acme"], &PKCS_ECDSA_P256_SHA256);
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut refused = 0;
        for at in 0..der.len() {
            let mut bent = der.to_vec();
            bent[at] ^= 1;
            let bent = rcgen_pem(&bent);
            refused += usize::from(Request::read(&bent).is_err());
        }
        assert_eq!(refused, der.len(), "every bit is signed, or part of the signature");
        let endless = [pem.as_str(), &"x".repeat(MAX_REQUEST_BYTES)].concat();
        for text in ["", "-----BEGIN CERTIFICATE REQUEST-----", "hello", &endless] {
            assert_eq!(Request::read(text), Err(RequestError::Unreadable));
        }
    }

    fn rcgen_pem(der: &[u8]) -> String {
        super::super::material::pem("CERTIFICATE REQUEST", der)
    }
}
