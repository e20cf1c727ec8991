//! Issuers' keys: on demand, by discovery, over TLS of a named authority, through outages; shared secrets,
//! workloads.

mod common;
mod issuer_cases;

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use common::{GATEWAY, PATIENCE, Reader, SIDECAR, SLACK, Server, text, until};
use portcullis_protocol::wire::KeyRefresh;
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// An identity provider: one key whose `kid` is the number given, or a failure for 0.
#[derive(Clone)]
struct Idp {
    number: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
    /// A set instead of the one key.
    set: Arc<Mutex<Option<Value>>>,
    /// Seconds for which it wants not to be asked again; 0 for none.
    rest_s: Arc<AtomicU16>,
    /// While it is true, nobody gets an answer.
    hangs: tokio::sync::watch::Sender<bool>,
    origin: String,
}

impl Idp {
    async fn start() -> Self {
        let (idp, listener) = Self::listen("http", "127.0.0.1").await;
        let routes = idp.routes();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        idp
    }

    async fn listen(scheme: &str, host: &str) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = format!("{scheme}://{host}:{port}");
        let hangs = tokio::sync::watch::Sender::new(false);
        (
            Self {
                number: Arc::new(AtomicU16::new(1)),
                asked: Arc::default(),
                set: Arc::default(),
                rest_s: Arc::default(),
                hangs,
                origin,
            },
            listener,
        )
    }

    fn routes(&self) -> axum::Router {
        let (keys, origin) = (self.clone(), self.origin.clone());
        let discovery = json!({"issuer": origin, "jwks_uri": format!("{origin}/jwks.json")});
        axum::Router::new().route("/jwks.json", get(move || keys.clone().answer_late())).route(
            "/.well-known/openid-configuration",
            get(move || std::future::ready(axum::Json(discovery.clone()))),
        )
    }

    /// Publishes these keys from now on.
    fn publish(&self, keys: Value) {
        *self.set.lock().unwrap() = Some(keys);
    }

    /// A well-formed set in which nothing can verify.
    fn withdraw(&self) {
        self.set(u16::MAX);
    }

    fn answer(&self) -> (StatusCode, axum::Json<Value>) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let n = self.number.load(Ordering::SeqCst);
        if let Some(keys) = self.set.lock().unwrap().as_ref().filter(|_| n != 0) {
            return (StatusCode::OK, axum::Json(json!({ "keys": keys })));
        }
        if n == u16::MAX {
            let keys = json!([{"kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB", "kid": "e"}]);
            return (StatusCode::OK, axum::Json(json!({ "keys": keys })));
        }
        let key = common::public_jwk(&n.to_string());
        let status = if n == 0 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        (status, axum::Json(json!({"keys": [key]})))
    }

    async fn answer_late(self) -> (StatusCode, HeaderMap, axum::Json<Value>) {
        let (status, body) = self.answer();
        let mut headers = HeaderMap::new();
        match self.rest_s.load(Ordering::SeqCst) {
            0 => {}
            seconds => {
                headers.insert("retry-after", seconds.into());
            }
        }
        // It can fail only when there is no sender, and `self` is one.
        let _ = self.hangs.subscribe().wait_for(|hangs| !hangs).await;
        (status, headers, body)
    }

    fn hang(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    fn set(&self, number: u16) {
        self.number.store(number, Ordering::SeqCst);
    }

    /// The same over TLS, with a certificate of its own for `localhost`; returns it in PEM.
    async fn start_tls() -> (Self, String) {
        let (idp, listener) = Self::listen("https", "localhost").await;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let answers = idp.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, answers) = (acceptor.clone(), answers.clone());
                // A handshake with somebody who does not trust us fails, as it should.
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        answers.answer_tls(&mut stream).await;
                    }
                });
            }
        });
        (idp, made.cert.pem())
    }

    async fn answer_tls(&self, stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let body = self.answer().1.0.to_string();
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    fn issuer(&self, name: &str) -> Value {
        json!({"issuer": name, "audiences": ["a"], "algorithms": ["EdDSA"], "jwksUri": format!("{}/jwks.json", self.origin)})
    }
}

const NAME: &str = "https://up.example.com";

async fn start(refresh_s: u32, issuers: Value) -> Server {
    Server::start_with(|config| {
        config["jwksRefreshSeconds"] = json!(refresh_s);
        config["issuers"] = issuers;
    })
    .await
}

fn kids(reader: &Reader, issuer: &str) -> Vec<String> {
    let document = reader.state.issuer(issuer);
    document.into_iter().flat_map(|d| &d.jwks.keys).filter_map(|k| k.kid.clone()).collect()
}

async fn until_kids(server: &Server, reader: &mut Reader, issuer: &str, wanted: &[&str]) {
    let begun = Instant::now();
    while kids(reader, issuer) != wanted {
        reader.poll(server, 1).await;
        assert!(begun.elapsed() < PATIENCE, "keys of {issuer} did not become {wanted:?}: {}", server.log());
    }
}

async fn refresh(server: &Server, issuer: &str, key_id: &str) -> u16 {
    let wish = KeyRefresh { issuer: issuer.to_owned(), key_id: key_id.to_owned() };
    let call = server.mesh(Method::POST, "/mesh/v1/keys/refresh", GATEWAY).body(wish.encode_to_vec());
    call.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_missing_key_is_fetched_at_once_and_once_for_all_that_ask() {
    let idp = Idp::start().await;
    let server = start(3600, json!([idp.issuer(NAME), idp.issuer("https://other.example.com")])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    until("both are fetched", async || idp.asked.load(Ordering::SeqCst) == 2).await;
    idp.set(2);
    let mut answers = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let wish = KeyRefresh { issuer: NAME.to_owned(), key_id: "2".to_owned() }.encode_to_vec();
        let call = server.mesh(Method::POST, "/mesh/v1/keys/refresh", GATEWAY).body(wish).send();
        tasks.spawn(async move { call.await.unwrap().status().as_u16() });
    }
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer.unwrap());
    }
    assert_eq!(answers, [204; 8]);
    assert_eq!(idp.asked.load(Ordering::SeqCst), 3, "one fetch for all");
    // When it is answered, it is published.
    reader.poll(&server, 0).await;
    assert_eq!(kids(&reader, NAME), ["2"]);
    // A known key costs nothing; each issuer for itself.
    assert_eq!(refresh(&server, NAME, "2").await, 204);
    assert_eq!(idp.asked.load(Ordering::SeqCst), 3);
    assert_eq!(refresh(&server, "https://other.example.com", "2").await, 204);
    assert_eq!(refresh(&server, "https://nobody.example.com", "2").await, 404);
    let garbage = server.mesh(Method::POST, "/mesh/v1/keys/refresh", GATEWAY).body("\u{ff}\u{ff}");
    assert_eq!(garbage.send().await.unwrap().status(), 400);
    let stranger = server.mesh(Method::POST, "/mesh/v1/keys/refresh", "spiffe://cluster.local/ns/x/sa/x");
    assert_eq!(stranger.send().await.unwrap().status(), 403);
    // A sidecar takes no issuer's tokens and needs none of their keys.
    let sidecar = server.mesh(Method::POST, "/mesh/v1/keys/refresh", common::SIDECAR).body(Vec::new());
    let answer = sidecar.send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "view_forbidden");
}

#[tokio::test]
async fn made_up_keys_do_not_delay_a_rotation_and_a_flood_of_them_is_bounded() {
    let idp = Idp::start().await;
    let server = start(3600, json!([idp.issuer(NAME)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    let before = idp.asked.load(Ordering::SeqCst);
    // A stray one, again and again, costs one fetch; a key that is published just then comes at once.
    assert_eq!(refresh(&server, NAME, "stray").await, 204);
    for _ in 0..20 {
        assert_eq!(refresh(&server, NAME, "stray").await, 429);
    }
    idp.set(2);
    assert_eq!(refresh(&server, NAME, "2").await, 204);
    reader.poll(&server, 0).await;
    assert_eq!(kids(&reader, NAME), ["2"]);
    assert_eq!(idp.asked.load(Ordering::SeqCst), before + 2);
    // A flood has what is left of four, and then waits.
    let begun = Instant::now();
    let mut fetched = 0;
    for n in 0..200 {
        fetched += usize::from(refresh(&server, NAME, &format!("made-up-{n}")).await == 204);
    }
    let grown = usize::try_from(begun.elapsed().as_secs() / 5).unwrap() + 1;
    assert!((2..=2 + grown).contains(&fetched), "{fetched} in {:?}", begun.elapsed());
    assert_eq!(idp.asked.load(Ordering::SeqCst), before + 2 + fetched);
    // The flood goes on, and the issuer changes its key: the next fetch that is due brings it.
    idp.set(3);
    let begun = Instant::now();
    while kids(&reader, NAME) != ["3"] {
        refresh(&server, NAME, &format!("late-{:?}", begun.elapsed())).await;
        refresh(&server, NAME, "3").await;
        reader.poll(&server, 0).await;
        assert!(begun.elapsed() < Duration::from_secs(5) + SLACK, "{}", server.log());
    }
}

#[tokio::test]
async fn keys_are_found_by_discovery_of_the_very_issuer() {
    let idp = Idp::start().await;
    let by_discovery = |issuer: &str| json!({"issuer": issuer, "audiences": ["a"], "algorithms": ["EdDSA"], "discovery": true});
    let slash = [&idp.origin, "/"].concat();
    let server = start(1, json!([by_discovery(&idp.origin), by_discovery(&slash)])).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, &idp.origin.clone(), &["1"]).await;
    server.until_logged("the discovery document is of issuer").await;
    assert_eq!(kids(&reader, &slash), Vec::<String>::new());
}

#[tokio::test]
async fn only_the_named_authority_vouches_for_an_issuer() {
    let (idp, pem) = Idp::start_tls().await;
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let server = Server::start_with(|config| {
        // The files lie beside the configuration, whose folder is known only once it is written.
        let folder = std::env::temp_dir().join(["portcullis-ca-", &std::process::id().to_string()].concat());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("good.pem"), &pem).unwrap();
        std::fs::write(folder.join("stranger.pem"), &stranger).unwrap();
        let with = |name: &str, file: &str| {
            let mut issuer = idp.issuer(name);
            issuer["caFile"] = json!(folder.join(file));
            issuer
        };
        config["jwksRefreshSeconds"] = json!(1);
        config["issuers"] = json!([
            with("https://good", "good.pem"),
            with("https://stranger", "stranger.pem"),
            idp.issuer("https://system")
        ]);
    })
    .await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, "https://good", &["1"]).await;
    until("the others are refused", async || {
        let list = server.expect(200, Method::GET, "/v1/issuers", None).await;
        list["issuers"][1]["failed"] != 0 && list["issuers"][2]["failed"] != 0
    })
    .await;
    reader.poll(&server, 0).await;
    assert!(kids(&reader, "https://stranger").is_empty() && kids(&reader, "https://system").is_empty());
    std::fs::remove_dir_all(
        std::env::temp_dir().join(["portcullis-ca-", &std::process::id().to_string()].concat()),
    )
    .unwrap();
}

#[tokio::test]
async fn a_shared_secret_reaches_gateways_alone_and_lies_nowhere_readable() {
    let secret = "a secret that both of them know, and nobody else";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    let mut server = start(
        60,
        json!([{"issuer": "partner", "audiences": ["a"], "algorithms": ["HS256"], "hmacKeyFile": file.path()}]),
    )
    .await;
    server.register("acme").await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    assert_eq!(reader.state.issuer_secret("partner").unwrap().bytes(), secret.as_bytes());
    assert!(reader.state.issuer("partner").unwrap().jwks.keys.is_empty());
    let mut sidecar = server.reader("public:acme", SIDECAR, "02");
    sidecar.sync(&server).await;
    assert!(sidecar.state.issuer("partner").is_none() && sidecar.state.issuer_secret("partner").is_none());
    // After a restart the secret is sent, and not what is stored of it.
    server.restart().await;
    let mut again = server.reader("gateway", GATEWAY, "03");
    again.sync(&server).await;
    assert_eq!(again.state.issuer_secret("partner").unwrap().bytes(), secret.as_bytes());
    server.signal("TERM");
    assert_eq!(server.exit_code().await, Some(0));
    for entry in std::fs::read_dir(server.folder.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
    assert!(!server.log().contains(secret));
}

#[tokio::test]
async fn a_sidecar_gets_the_workloads_of_its_own_tenant() {
    let id = |name: &str| ["spiffe://cluster.local/ns/x/sa/", name].concat();
    let server = Server::start_with(|config| {
        config["workloads"] = json!([
            {"spiffeId": id("acme"), "tenant": "acme", "roles": ["reader"]},
            {"spiffeId": id("globex"), "tenant": "globex"},
        ]);
        config["sourceRules"] = json!([
            {"name": "people", "sourceType": "human", "when": {"clientId": ["globex-web"]}},
            {"name": "jobs", "sourceType": "worker", "when": {"credential": ["workload"]}},
        ]);
    })
    .await;
    let mut early = server.reader("public:acme", SIDECAR, "03");
    early.sync(&server).await;
    let (own, other) = (id("acme").parse().unwrap(), id("globex").parse().unwrap());
    assert!(early.state.workload(&own).is_none(), "the cluster is not registered yet");
    server.register("acme").await;
    let mut gateway = server.reader("gateway", GATEWAY, "01");
    gateway.sync(&server).await;
    assert_eq!(gateway.state.workload(&own).unwrap().roles.len(), 1);
    assert!(gateway.state.workload(&other).is_some());
    let mut sidecar = server.reader("public:acme", SIDECAR, "02");
    sidecar.sync(&server).await;
    assert!(sidecar.state.workload(&own).is_some() && sidecar.state.workload(&other).is_none());
    let rules = |reader: &Reader| {
        reader.state.source_rules().rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (rules(&gateway), rules(&sidecar)),
        (vec!["people".into(), "jobs".into()], vec!["jobs".into()])
    );
    early.sync(&server).await;
    assert!(early.state.workload(&own).is_some(), "registering the cluster brings its workloads");
}

/// How late a withdrawn key may still be known, measured from the withdrawal: the refresh interval, and what a busy
/// machine adds.
#[tokio::test]
async fn a_withdrawn_key_stops_within_the_refresh_interval() {
    for refresh_s in [1, 2] {
        let idp = Idp::start().await;
        let server = start(refresh_s, json!([idp.issuer(NAME)])).await;
        let mut reader = server.reader("gateway", GATEWAY, "01");
        until_kids(&server, &mut reader, NAME, &["1"]).await;
        for number in 2..5 {
            idp.set(number);
            let withdrawn = Instant::now();
            until_kids(&server, &mut reader, NAME, &[number.to_string().as_str()]).await;
            let took = withdrawn.elapsed();
            assert!(took < Duration::from_secs(refresh_s.into()) + SLACK, "{refresh_s} s: {took:?}");
            // Not always right after a fetch: the interval counts from any moment.
            tokio::time::sleep(Duration::from_millis(300) * number.into()).await;
        }
    }
}
