//! The service's own authority: one root, whose key lies sealed in the store.

use std::time::Duration;

use portcullis_control_domain::clock::millis;
use portcullis_control_domain::enrolment::{RevokedCertificate, RootPin, SignedCertificate, StoredAuthority};
use portcullis_control_domain::random::{random, random_number};
use portcullis_protocol::audit::{hex, unhex};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, RevokedCertParams, SerialNumber, SignatureAlgorithm,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::material::pem;
use super::{Authority, AuthorityError, Order, Request, ServerMaterial};

/// Clocks of agents and gateways may be so far behind.
const BACKDATED: Duration = Duration::from_secs(300);
/// How long the root is good.
const ROOT: Duration = Duration::from_secs(10 * 366 * 86_400);
/// How long a server's certificate is good: it is made anew long before.
const SERVER: Duration = Duration::from_secs(7 * 86_400);
/// When a list of what was revoked is to be replaced at the latest.
const LIST: Duration = Duration::from_secs(86_400);

/// The service's own authority.
pub struct OwnAuthority {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
    pin: RootPin,
}

impl std::fmt::Debug for OwnAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnAuthority").field("pin", &self.pin.to_string()).finish_non_exhaustive()
    }
}

fn failed(error: rcgen::Error) -> AuthorityError {
    AuthorityError(error.to_string())
}

/// A time as certificates have it, in whole seconds.
fn time(ms: u64) -> Result<OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| AuthorityError(error.to_string()))
}

/// A serial number of 127 random bits, never negative and never shorter (RFC 5280 §4.1.2.2).
fn serial() -> [u8; 16] {
    let mut serial = random::<16>();
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    serial
}

/// What every certificate has that is signed here.
fn params(name: &str, now_ms: u64, lifetime: Duration) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from_slice(&serial()));
    params.not_before = time(now_ms.saturating_sub(millis(BACKDATED)))?;
    params.not_after = time(now_ms.saturating_add(millis(lifetime)))?;
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// What the root is. Its name follows from its id, so that no two have the same.
fn root(id: &str, now_ms: u64) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(&["Portcullis agents ", id].concat(), now_ms, ROOT)?;
    params.use_authority_key_identifier_extension = false;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A key that a request showed.
struct Requested<'a>(&'a Request);

impl PublicKeyData for Requested<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl OwnAuthority {
    /// Makes a new one, to be stored before it signs anything.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn make(now_ms: u64) -> Result<StoredAuthority, AuthorityError> {
        let id = hex(&random::<8>());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = root(&id, now_ms)?.self_signed(&key).map_err(failed)?;
        Ok(StoredAuthority {
            id,
            certificate: certificate.der().to_vec(),
            key: Zeroizing::new(key.serialize_der()),
            created_at_ms: now_ms,
        })
    }

    /// The one that was stored.
    ///
    /// # Errors
    /// [`AuthorityError`] when its key cannot be read.
    pub fn of(stored: &StoredAuthority) -> Result<Self, AuthorityError> {
        let key = KeyPair::try_from(stored.key.as_slice()).map_err(failed)?;
        let pin = RootPin::of_spki(&key.subject_public_key_info());
        let issuer = Issuer::new(root(&stored.id, stored.created_at_ms)?, key);
        Ok(Self { issuer, root: stored.certificate.clone(), pin })
    }
}

/// What the certificate of a cluster is.
fn of_cluster(order: &Order<'_>) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(order.cluster.as_str(), order.now_ms, order.lifetime)?;
    let name = order.cluster.as_str().try_into().map_err(failed)?;
    params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

impl Authority for OwnAuthority {
    fn sign(&self, order: &Order<'_>) -> Result<SignedCertificate, AuthorityError> {
        let params = of_cluster(order)?;
        let certificate = params.signed_by(&Requested(order.request), &self.issuer).map_err(failed)?;
        let serial = params.serial_number.map(|serial| serial.to_bytes()).unwrap_or_default();
        let life_ms = millis(order.lifetime);
        // Between a third and a half: agents that came together do not come back together.
        let spread = u64::from(random_number()) * (life_ms / 6) / u64::from(u32::MAX);
        Ok(SignedCertificate {
            serial: hex(&serial),
            key_digest: order.request.key_digest(),
            not_after_ms: order.now_ms.saturating_add(life_ms),
            renew_after_ms: order.now_ms.saturating_add(life_ms / 3 + spread),
            chain: pem("CERTIFICATE", certificate.der()),
        })
    }

    fn revocation_list(
        &self,
        revoked: &[RevokedCertificate],
        number: u64,
        now_ms: u64,
    ) -> Result<Vec<u8>, AuthorityError> {
        let entry = |one: &RevokedCertificate| {
            let serial =
                unhex(&one.serial).ok_or_else(|| AuthorityError("a serial number is none".to_owned()))?;
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial),
                revocation_time: time(one.revoked_at_ms)?,
                reason_code: None,
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: time(now_ms.saturating_sub(millis(BACKDATED)))?,
            next_update: time(now_ms.saturating_add(millis(LIST)))?,
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, AuthorityError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer).map_err(failed)?.der().to_vec())
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        vec![self.root.clone()]
    }

    fn server(&self, names: &[String], now_ms: u64) -> Result<(ServerMaterial, RootPin), AuthorityError> {
        let mut params = params("Portcullis", now_ms, SERVER)?;
        params.subject_alt_names = CertificateParams::new(names.to_vec()).map_err(failed)?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let chain = vec![certificate.der().to_vec(), self.root.clone()];
        Ok((ServerMaterial { chain, key: Zeroizing::new(key.serialize_der()) }, self.pin))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_identity::ids::ClusterId;
    use rcgen::KeyPair;
    use x509_cert::Certificate;
    use x509_cert::crl::CertificateList;
    use x509_cert::der::{Decode, Encode};
    use x509_cert::ext::pkix::ExtendedKeyUsage;

    use super::super::Peer;
    use super::*;

    const NOW_MS: u64 = 1_790_000_000_000;

    fn authority() -> OwnAuthority {
        OwnAuthority::of(&OwnAuthority::make(NOW_MS).unwrap()).unwrap()
    }

    fn request() -> Request {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        Request::read(&csr.pem().unwrap()).unwrap()
    }

    #[test]
    fn a_certificate_names_the_cluster_alone_and_is_for_clients() {
        use rustls_pki_types::CertificateDer;
        use rustls_pki_types::pem::PemObject;
        let (authority, request) = (authority(), request());
        let cluster = ClusterId::new("acme-1").unwrap();
        let lifetime = Duration::from_secs(86_400);
        let order = Order { cluster: &cluster, request: &request, lifetime, now_ms: NOW_MS };
        let signed = authority.sign(&order).unwrap();
        let der = CertificateDer::from_pem_slice(signed.chain.as_bytes()).unwrap();
        let peer = Peer::of(&der).unwrap();
        assert_eq!(
            (peer.name.as_str(), &peer.serial, peer.key_digest),
            ("acme-1", &signed.serial, request.key_digest())
        );
        assert_eq!(signed.serial.len(), 32);
        let read = Certificate::from_der(&der).unwrap().tbs_certificate;
        let (_, usage) = read.get::<ExtendedKeyUsage>().unwrap().unwrap();
        let clients = usage.0.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(clients, ["1.3.6.1.5.5.7.3.2"], "clientAuth alone");
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        let (from, until) = (seconds(read.validity.not_before), seconds(read.validity.not_after));
        assert_eq!((from, until), (1_790_000_000 - 300, 1_790_000_000 + 86_400));
        let (third, half) = (NOW_MS + 28_800_000, NOW_MS + 43_200_000);
        assert!((third..=half).contains(&signed.renew_after_ms));
        assert_ne!(authority.sign(&order).unwrap().serial, signed.serial);
    }

    #[test]
    fn the_list_has_what_was_revoked_and_a_greater_number_later() {
        let authority = authority();
        let revoked = RevokedCertificate { serial: "4f".repeat(16), revoked_at_ms: NOW_MS - 5 };
        let number = |der: &[u8]| {
            let list = CertificateList::from_der(der).unwrap().tbs_cert_list;
            let revoked = list.revoked_certificates.unwrap_or_default();
            let serials: Vec<_> = revoked.iter().map(|one| hex(one.serial_number.as_bytes())).collect();
            let numbers = list.crl_extensions.unwrap_or_default();
            let number = numbers.iter().find(|one| one.extn_id.to_string() == "2.5.29.20").unwrap();
            (serials, number.extn_value.as_bytes().to_vec())
        };
        let (none, first) = number(&authority.revocation_list(&[], 255, NOW_MS).unwrap());
        let (one, second) = number(&authority.revocation_list(&[revoked], 256, NOW_MS).unwrap());
        assert!(none.is_empty() && first < second);
        assert_eq!(one, ["4f".repeat(16)]);
    }

    #[test]
    fn the_pin_is_of_the_root_in_the_servers_chain() {
        let authority = authority();
        let (material, pin) = authority.server(&["agents.example.com".to_owned()], NOW_MS).unwrap();
        let root = Certificate::from_der(material.chain.last().unwrap()).unwrap().tbs_certificate;
        assert_eq!(RootPin::of_spki(&root.subject_public_key_info.to_der().unwrap()), pin);
        assert_eq!(root.subject, root.issuer);
    }
}
