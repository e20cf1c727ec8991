use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_control_domain::enrolment::{JoinSecret, RootPin};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use crate::common::{Access, PATIENCE, text};

/// The name of the listener in these tests.
pub(crate) const NAME: &str = "agents.portcullis.test";

/// Has a service listen to agents.
pub(crate) fn listen(config: &mut Value) {
    config["listeners"]["agents"] = json!("127.0.0.1:0");
    config["agents"] = json!({"serverNames": [NAME],
        "tunnel": {"address": "tunnels.portcullis.test:443", "serverName": "tunnels.portcullis.test"}});
}

/// Where a service listens to agents.
pub(crate) fn address(server: &Access) -> SocketAddr {
    server.url("agents", "").strip_prefix("http://").unwrap().parse().unwrap()
}

/// A new join token of a cluster.
pub(crate) async fn join_token(server: &Access, cluster: &str) -> String {
    let path = ["/v1/clusters/", cluster, "/join-tokens"].concat();
    text(&server.expect(201, Method::POST, &path, None).await["token"])
}

/// Takes whatever certificate is shown: what is shown is looked at afterwards.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The chain that a listener shows.
async fn shown(address: SocketAddr) -> Vec<CertificateDer<'static>> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(NAME.try_into().unwrap(), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap().iter().map(|der| der.clone().into_owned()).collect()
}

/// The certificate of the shown chain that a pin names.
pub(crate) async fn pinned(address: SocketAddr, pin: RootPin) -> Option<CertificateDer<'static>> {
    shown(address).await.into_iter().find(|der| {
        let read = Certificate::from_der(der).unwrap().tbs_certificate;
        RootPin::of_spki(&read.subject_public_key_info.to_der().unwrap()) == pin
    })
}

/// A data cluster's agent.
pub(crate) struct Agent {
    pub(crate) key: KeyPair,
    pub(crate) root: CertificateDer<'static>,
    /// What joining or renewing has answered last.
    pub(crate) enrolled: Value,
}

/// A request for a certificate of this key, for these names.
pub(crate) fn csr(key: &KeyPair, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).unwrap().serialize_request(key).unwrap().pem().unwrap()
}

/// A client that trusts one root, and shows a certificate where there is one.
pub(crate) fn client(
    address: SocketAddr,
    root: &CertificateDer<'static>,
    shows: Option<(&str, &KeyPair)>,
) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shows {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .connect_timeout(Duration::from_secs(30))
        .resolve(NAME, address)
        .tls_backend_preconfigured(config)
        .build()
        .unwrap()
}

/// The address of a call.
pub(crate) fn url(address: SocketAddr, path: &str) -> String {
    format!("https://{NAME}:{}{path}", address.port())
}

/// One try to join.
pub(crate) async fn try_to_join(address: SocketAddr, client: &Client, token: &str, csr: &str) -> Response {
    let body = json!({"csr": csr, "version": "1.0"});
    client.post(url(address, "/v1/agent/join")).bearer_auth(token).json(&body).send().await.unwrap()
}

/// The status and the reason of a refusal.
pub(crate) async fn refusal(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, text(&answer.json::<Value>().await.unwrap()["reason"]))
}

impl Agent {
    /// Joins by a token, which proves the service first.
    pub(crate) async fn join(server: &Access, token: &str) -> Self {
        let address = address(server);
        let pin = JoinSecret::parse(token).unwrap().pin();
        let root = pinned(address, pin).await.expect("the pin names a certificate of the chain");
        let key = KeyPair::generate().unwrap();
        let client = client(address, &root, None);
        let answer = try_to_join(address, &client, token, &csr(&key, &[])).await;
        let status = answer.status();
        let enrolled: Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{enrolled}");
        Self { key, root, enrolled }
    }

    pub(crate) fn chain(&self) -> String {
        text(&self.enrolled["certificate"])
    }

    pub(crate) fn serial(&self) -> String {
        text(&self.enrolled["serial"])
    }

    /// A new connection's client.
    pub(crate) fn client(&self, server: &Access) -> Client {
        client(address(server), &self.root, Some((&self.chain(), &self.key)))
    }

    /// A call by a connection of its own.
    pub(crate) fn call(&self, server: &Access, method: Method, path: &str) -> RequestBuilder {
        self.client(server).request(method, url(address(server), path))
    }

    /// Asks for a certificate of another key in the place of its own.
    pub(crate) async fn renewed(&self, server: &Access) -> Self {
        let key = KeyPair::generate().unwrap();
        let body = json!({"csr": csr(&key, &[])});
        let answer =
            self.call(server, Method::POST, "/v1/agent/certificate").json(&body).send().await.unwrap();
        let status = answer.status();
        let enrolled: Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{enrolled}");
        Self { key, root: self.root.clone(), enrolled }
    }

    /// A heartbeat's status.
    pub(crate) async fn heartbeat(&self, server: &Access) -> u16 {
        let call = self.call(server, Method::POST, "/v1/agent/heartbeat");
        call.json(&json!({"status": "online", "version": "1.0"})).send().await.unwrap().status().as_u16()
    }
}
