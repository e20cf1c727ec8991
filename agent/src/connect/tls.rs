//! TLS 1.3 to the platform, whose root is known: by the pin of the join token at first, and by what the platform says later.

use std::sync::Arc;

use portcullis_control_domain::clock::rfc3339;
use portcullis_control_domain::enrolment::RootPin;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

use super::address::Server;
use super::dial::PATIENCE;
use super::error::{ConnectError, TlsFault};
use crate::certificate::{issuer, pin};

/// By what the platform is known.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Roots by the digests of their keys, in hexadecimal.
    pub pins: Vec<String>,
    /// Roots themselves, PEM.
    pub authorities: String,
}

/// A certificate and its key, both PEM, by which one proves oneself.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// The chain.
    pub chain: &'a str,
    /// The private key.
    pub key: &'a str,
}

/// Shakes hands over a connection that is there.
///
/// # Errors
/// [`ConnectError`].
pub async fn shake_hands(
    stream: TcpStream,
    server: &Server,
    trust: &Trust,
    own: Option<Own<'_>>,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let config = configure(server, trust, own)?;
    let name = ServerName::try_from(server.host.clone());
    let name = name.map_err(|error| ConnectError::Own(format!("the server's name: {error}")))?;
    let shaken =
        tokio::time::timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let silent =
        ConnectError::Silent { host: server.host.clone(), port: server.port, seconds: PATIENCE.as_secs() };
    shaken.map_err(|_| silent)?.map_err(|source| {
        let fault = source.get_ref().and_then(|inner| fault(&server.host, inner));
        fault.unwrap_or(ConnectError::Tls { host: server.host.clone(), source })
    })
}

/// What an error of TLS means, wherever it came up: in TLS 1.3 a server may tell as late as with its first answer that it does
/// not take a certificate.
pub(crate) fn fault(host: &str, error: &(dyn std::error::Error + 'static)) -> Option<ConnectError> {
    let error = error.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(fault))) => {
            fault.downcast_ref::<TlsFault>().cloned().map(ConnectError::Server)
        }
        rustls::Error::PeerIncompatible(_) => {
            let why = format!("something else than the platform answers there ({error})");
            Some(ConnectError::Server(TlsFault::Other { host: host.to_owned(), why }))
        }
        rustls::Error::AlertReceived(alert) if is_about_certificates(*alert) => {
            Some(ConnectError::Refused(format!("{alert:?}")))
        }
        _ => None,
    }
}

/// A time as people write it.
fn date(time: UnixTime) -> String {
    rfc3339(time.as_secs().saturating_mul(1000))
}

fn is_about_certificates(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

fn configure(server: &Server, trust: &Trust, own: Option<Own<'_>>) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |error: &dyn std::fmt::Display| ConnectError::Own(error.to_string());
    let authorities: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(trust.authorities.as_bytes()).collect();
    let verifier = RootVerifier {
        host: server.host.clone(),
        pins: trust.pins.clone(),
        authorities: authorities.map_err(|error| unusable(&error))?,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(own) = own else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(own.chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).map_err(|error| unusable(&error))?;
    let chain = chain.map_err(|error| unusable(&error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))
}

/// Takes a server whose certificate ends in a root that is known.
#[derive(Debug)]
struct RootVerifier {
    host: String,
    pins: Vec<String>,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl RootVerifier {
    /// The roots that count: those that were told, and what came with the server's certificate and has a pinned key.
    fn roots(&self, came: &[CertificateDer<'_>]) -> RootCertStore {
        let is_pinned = |der: &&CertificateDer<'_>| {
            let digest = pin(der).map(|pin: RootPin| pin.to_string());
            digest.is_some_and(|digest| self.pins.contains(&digest))
        };
        let pinned = came.iter().filter(is_pinned).map(|der| der.clone().into_owned());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.authorities.iter().cloned().chain(pinned));
        roots
    }

    fn fault(&self, error: rustls::Error, last: Option<String>, now: UnixTime) -> TlsFault {
        let host = self.host.clone();
        let inspected =
            |host| TlsFault::Inspected { host, issuer: last.unwrap_or_else(|| "nobody".to_owned()) };
        match error {
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => inspected(host),
            rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before, ..
            }) => TlsFault::NotYet { host, from: date(not_before), now: date(now) },
            rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
                TlsFault::Over { host, to: date(not_after), now: date(now) }
            }
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => TlsFault::Name { host },
            error => TlsFault::Other { host, why: error.to_string() },
        }
    }
}

impl ServerCertVerifier for RootVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let roots = self.roots(intermediates);
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let verified =
            verify_server_cert_signed_by_trust_anchor(&certificate, &roots, intermediates, now, algorithms);
        verified.and_then(|()| verify_server_name(&certificate, name)).map_err(|error| {
            let last = intermediates.last().unwrap_or(end_entity);
            let fault = self.fault(error, issuer(last), now);
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // No such version is offered.
        Err(rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
