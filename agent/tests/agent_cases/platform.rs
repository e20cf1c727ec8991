//! A platform as agents see it, over real TLS, that can be told to misbehave.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Json, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::{IncomingStream, Listener};
use portcullis_agent::certificate::Facts;
use portcullis_control_contract::agents::{
    AgentConfiguration, CERTIFICATE, CONFIGURATION, CertificateIssued, CertificateRequest, HEARTBEAT, JOIN,
    JoinSecret, RootPin,
};
use portcullis_control_domain::clock::{millis, now_ms};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SignatureAlgorithm,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_cert::der::Decode;
use x509_cert::request::CertReq;

pub(crate) type Root = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn root(name: &str) -> Root {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What the platform does.
pub(crate) struct Conduct {
    /// Join tokens with the key that used each.
    pub(crate) tokens: HashMap<String, Option<Vec<u8>>>,
    /// How long certificates are good, and when they are to be replaced.
    pub(crate) life: Duration,
    pub(crate) renew_after: Duration,
    /// How long a join or renewal takes before it is answered.
    pub(crate) hold: Duration,
    /// Certificates with a number up to this one are not taken.
    pub(crate) revoked_to: u64,
    /// Certificates with this number are not taken.
    pub(crate) refused: Option<u64>,
    /// What `Date` says beside the clock, in seconds.
    pub(crate) date: i64,
    pub(crate) configuration: Value,
    pub(crate) tag: u64,
    /// What has happened.
    pub(crate) issued: u64,
    pub(crate) keys: HashMap<Vec<u8>, u64>,
    pub(crate) beats: Vec<u64>,
    pub(crate) waits: Vec<u64>,
}

pub(crate) struct Platform {
    pub(crate) at: SocketAddr,
    pub(crate) conduct: Arc<Mutex<Conduct>>,
    pub(crate) root: Arc<Root>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Shared = (Arc<Mutex<Conduct>>, Arc<Root>);

impl Platform {
    pub(crate) async fn start() -> Self {
        let root = Arc::new(root("the platform"));
        Self::start_as(Arc::clone(&root), &root, |_| {}).await
    }

    /// With a certificate of another authority than agents expect, or a peculiar one.
    pub(crate) async fn start_as(
        own: Arc<Root>,
        shown: &Root,
        bend: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        bend(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, shown).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
            .with_single_cert(
                vec![leaf.der().clone(), CertificateDer::from_pem_slice(shown.pem().as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let conduct = Arc::new(Mutex::new(Conduct {
            tokens: HashMap::new(),
            life: Duration::from_secs(3600),
            renew_after: Duration::from_secs(1800),
            hold: Duration::ZERO,
            revoked_to: 0,
            refused: None,
            date: 0,
            configuration: configuration(&own),
            tag: 1,
            issued: 0,
            keys: HashMap::new(),
            beats: Vec::new(),
            waits: Vec::new(),
        }));
        let shared: Shared = (Arc::clone(&conduct), Arc::clone(&own));
        let pages = Router::new()
            .route(JOIN, post(join))
            .route(CERTIFICATE, post(renew))
            .route(HEARTBEAT, post(beat))
            .route(CONFIGURATION, get(configured))
            .layer(axum::middleware::map_response_with_state(shared.clone(), date))
            .with_state(shared);
        let tls = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let pages = pages.into_make_service_with_connect_info::<Peer>();
        let task = tokio::spawn(async move { axum::serve(tls, pages).await.unwrap() });
        Self { at, conduct, root: own, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.at.port())
    }

    /// A new join token.
    pub(crate) fn token(&self) -> String {
        let token = JoinSecret::generate(self.pin()).reveal().to_owned();
        self.conduct.lock().unwrap().tokens.insert(token.clone(), None);
        token
    }

    pub(crate) fn pin(&self) -> RootPin {
        RootPin::of_spki(&self.root.key().subject_public_key_info())
    }

    pub(crate) fn see<T>(&self, look: impl FnOnce(&mut Conduct) -> T) -> T {
        look(&mut self.conduct.lock().unwrap())
    }
}

pub(crate) fn configuration(root: &Root) -> Value {
    json!({
        "trust_bundle": root.pem(),
        "identity": {"issuer": "https://gateway.example.com", "keys": {"keys": []}},
        "snapshot_key": "x",
        "heartbeat_interval_s": 1,
    })
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else { continue };
            let shaken = tokio::time::timeout(Duration::from_secs(2), self.acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = shaken {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The number in the certificate of a client, which stands in its common name.
#[derive(Clone)]
struct Peer(Option<String>);

impl Connected<IncomingStream<'_, Tls>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Tls>) -> Self {
        let (_, session) = stream.io().get_ref();
        Self(session.peer_certificates().map(|chain| {
            use base64::Engine;
            let der = base64::engine::general_purpose::STANDARD.encode(&chain[0]);
            format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")
        }))
    }
}

impl Peer {
    #[allow(clippy::result_large_err, reason = "what is refused is answered at once, and a test asks seldom")]
    fn number(&self, conduct: &Conduct) -> Result<u64, Response> {
        let chain = self.0.as_ref().ok_or_else(|| problem(401, "certificate_missing"))?;
        let facts = Facts::read(chain).unwrap();
        assert_eq!(facts.cluster, "acme-onprem");
        let number = conduct.keys[&facts.key];
        if number <= conduct.revoked_to || conduct.refused == Some(number) {
            return Err(problem(401, "certificate_revoked"));
        }
        Ok(number)
    }
}

fn problem(status: u16, reason: &str) -> Response {
    let body = json!({"type": "about:blank", "title": reason, "status": status, "detail": "so it is", "reason": reason});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn date(State((conduct, _)): State<Shared>, mut answer: Response) -> Response {
    let by = conduct.lock().unwrap().date;
    let now = i64::try_from(now_ms() / 1000).unwrap() + by;
    let date = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(now).unwrap());
    answer.headers_mut().insert("date", httpdate::fmt_http_date(date).parse().unwrap());
    answer
}

async fn join(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Json(asked): Json<CertificateRequest>,
) -> Response {
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let request = Key::of(&asked);
    let key = request.subject_public_key_info();
    {
        let mut conduct = shared.0.lock().unwrap();
        match conduct.tokens.get_mut(&token) {
            None => return problem(401, "join_token_invalid"),
            Some(Some(used)) if *used != key => return problem(410, "join_token_used"),
            Some(place) => *place = Some(key),
        }
    }
    issue(shared, request).await
}

async fn renew(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(asked): Json<CertificateRequest>,
) -> Response {
    let known = peer.number(&shared.0.lock().unwrap());
    match known {
        Err(refused) => refused,
        Ok(_) => issue(shared, Key::of(&asked)).await,
    }
}

/// The public key in a request for a certificate: all of it that counts.
struct Key(Vec<u8>);

impl Key {
    fn of(asked: &CertificateRequest) -> Self {
        let der = CertificateSigningRequestDer::from_pem_slice(asked.csr.as_bytes()).unwrap();
        let request = CertReq::from_der(&der).unwrap();
        assert!(request.info.subject.to_string().is_empty(), "it names nobody");
        Self(request.info.public_key.subject_public_key.raw_bytes().to_vec())
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

async fn issue((conduct, root): Shared, key: Key) -> Response {
    let (issued, hold) = {
        let mut conduct = conduct.lock().unwrap();
        conduct.issued += 1;
        let number = conduct.issued;
        conduct.keys.insert(key.subject_public_key_info(), number);
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName("acme-onprem".try_into().unwrap())];
        let certificate = params.signed_by(&key, &**root).unwrap();
        let after = |later: Duration| now_ms() + millis(later);
        let issued = CertificateIssued {
            cluster: portcullis_identity::ids::ClusterId::new("acme-onprem").unwrap(),
            tenant: portcullis_identity::ids::TenantId::new("acme").unwrap(),
            certificate: certificate.pem(),
            serial: number.to_string(),
            not_after_ms: after(conduct.life),
            renew_after_ms: after(conduct.renew_after),
            configuration: serde_json::from_value::<AgentConfiguration>(conduct.configuration.clone())
                .unwrap(),
        };
        (issued, conduct.hold)
    };
    tokio::time::sleep(hold).await;
    Json(issued).into_response()
}

async fn beat(
    State((conduct, _)): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    _: Json<Value>,
) -> Response {
    let mut conduct = conduct.lock().unwrap();
    match peer.number(&conduct) {
        Err(refused) => refused,
        Ok(number) => {
            conduct.beats.push(number);
            Json(json!({"state": "online", "next_heartbeat_s": 1})).into_response()
        }
    }
}

async fn configured(
    State((conduct, _)): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(query): Query<HashMap<String, u64>>,
    headers: HeaderMap,
) -> Response {
    let wait = query.get("wait").copied().unwrap_or_default();
    let end = tokio::time::Instant::now() + Duration::from_secs(wait);
    let known = headers.get("if-none-match").map(|tag| tag.to_str().unwrap().to_owned());
    conduct.lock().unwrap().waits.push(wait);
    loop {
        {
            let conduct = conduct.lock().unwrap();
            if let Err(refused) = peer.number(&conduct) {
                return refused;
            }
            let tag = format!("\"{}\"", conduct.tag);
            if known.as_ref() != Some(&tag) {
                return ([("etag", tag)], Json(conduct.configuration.clone())).into_response();
            }
        }
        if tokio::time::Instant::now() >= end {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
