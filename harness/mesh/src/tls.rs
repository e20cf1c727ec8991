//! TLS as a client inside the mesh speaks it: with the certificate of a workload, or with none.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{MeshError, Result};
use crate::pki::Leaf;

/// How a client speaks TLS.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    /// The server's name, which is asked for and verified; by its address where there is none.
    name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// A client that trusts an authority (PEM), with a certificate of its own or without.
    ///
    /// # Errors
    /// When a certificate or key cannot be used.
    pub fn new(root: &str, own: Option<&Leaf>) -> Result<Self> {
        let config = configure(root, own).map_err(unusable)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name: None })
    }

    /// A client from outside, as a browser is one: it asks for a server's name, and trusts who proves that by an authority
    /// (PEM).
    ///
    /// # Errors
    /// When the authority cannot be used, or the name is none.
    pub fn to_server(root: &str, name: &str) -> Result<Self> {
        let client = || -> std::result::Result<_, Failure> {
            let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(trusted(root)?)
                .with_no_client_auth();
            Ok((config, ServerName::try_from(name.to_owned())?))
        };
        let (config, name) = client().map_err(unusable)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name: Some(name) })
    }

    /// Shakes hands.
    pub(crate) async fn connect(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let peer = stream.peer_addr()?.ip();
        let name = self.name.clone().unwrap_or_else(|| ServerName::IpAddress(peer.into()));
        self.connector.connect(name, stream).await
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn unusable(error: Failure) -> MeshError {
    MeshError::Token { what: "a TLS client".to_owned(), reason: error.to_string() }
}

fn trusted(root: &str) -> std::result::Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    Ok(roots)
}

fn configure(root: &str, own: Option<&Leaf>) -> std::result::Result<ClientConfig, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(MeshVerifier { roots: trusted(root)?, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match own {
        None => builder.with_no_client_auth(),
        Some(leaf) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?,
        )?,
    })
}

/// Workloads have SPIFFE ids and no host names: whoever the mesh's authority vouches for is a server of the
/// mesh. Which one it is does not matter to the harness, which dialled its address.
#[derive(Debug)]
struct MeshVerifier {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for MeshVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
