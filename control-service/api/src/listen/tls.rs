//! TLS of the service's own, where agents of data clusters call.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_control_domain::log_throttle::LogThrottle;
use portcullis_control_services::authority::Peer;
use portcullis_control_services::enrolment::Trust;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Whoever proved themselves in the handshake, if somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPeer(pub Option<Peer>);

/// How connections are taken: by TLS 1.3, with a client certificate or without one.
pub struct Tls {
    trust: watch::Receiver<Arc<Trust>>,
    built: Mutex<Option<(u64, Arc<ServerConfig>)>>,
    said: LogThrottle,
}

/// What cannot be used, for the log.
type Unusable = Box<dyn std::error::Error + Send + Sync>;

impl Tls {
    /// What is good, as it is at each handshake.
    #[must_use]
    pub fn new(trust: watch::Receiver<Arc<Trust>>) -> Self {
        Self { trust, built: Mutex::default(), said: LogThrottle::default() }
    }

    /// Takes a connection; `None` where the handshake fails.
    pub(super) async fn accepted(&self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Option<Peer>)> {
        let config = match self.config() {
            Ok(config) => config,
            Err(error) => {
                if self.said.allow("tls") {
                    tracing::error!(%error, "agents cannot connect");
                }
                return None;
            }
        };
        let stream = match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a handshake failed");
                return None;
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
        let Some(shown) = shown else { return Some((stream, None)) };
        // What cannot be read is nobody's, and does not pass for a connection without a certificate either.
        let peer = Peer::of(&shown)?;
        Some((stream, Some(peer)))
    }

    fn config(&self) -> Result<Arc<ServerConfig>, Unusable> {
        let trust = Arc::clone(&self.trust.borrow());
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        match &*built {
            Some((number, config)) if *number == trust.number => Ok(Arc::clone(config)),
            _ => {
                let config = Arc::new(build(&trust)?);
                *built = Some((trust.number, Arc::clone(&config)));
                Ok(config)
            }
        }
    }
}

fn build(trust: &Trust) -> Result<ServerConfig, Unusable> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in &trust.roots {
        roots.add(CertificateDer::from(root.as_slice()))?;
    }
    let lists = [trust.revocation_list.clone().into()];
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .with_crls(lists)
        .allow_unauthenticated()
        .build()?;
    let chain = trust.server.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(trust.server.key.to_vec()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    // A session that is taken up again is not looked at anew: a revoked certificate would be good in it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
