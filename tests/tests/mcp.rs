//! A stock client of the Model Context Protocol goes all the way by itself, over TLS: from nothing but the server's
//! URL to a tool's answer, with the official SDK and a sample authorization server.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_mesh::control::CLIENT_AGENTS;
use portcullis_mesh::idp::{AUDIENCE, Algorithm, ISSUER, claims};
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{HOSTED, Mesh, Options, TENANT};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What the cluster asks for, and the client is told only after it has signed in.
const NEEDED: &str = "data.read";

/// A sample authorization server: registration, a person who always agrees, codes with PKCE, refreshing.
struct Server {
    /// A token for each scope that can be asked for.
    tokens: HashMap<&'static str, String>,
    codes: Mutex<HashMap<String, HashMap<String, String>>>,
    log: Mutex<Vec<String>>,
}

impl Server {
    fn note(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }

    fn token(&self, scope: &str) -> Response {
        let Some(token) = self.tokens.get(scope) else { return StatusCode::BAD_REQUEST.into_response() };
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": scope,
            "refresh_token": format!("again {scope}")});
        Json(body).into_response()
    }
}

async fn metadata() -> Json<Value> {
    let at = |path: &str| format!("{ISSUER}{path}");
    Json(json!({"issuer": ISSUER, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "registration_endpoint": at("register"), "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": true}))
}

async fn register(State(server): State<Arc<Server>>, Json(mut client): Json<Value>) -> impl IntoResponse {
    server.note("registered".to_owned());
    client["client_id"] = CLIENT_AGENTS.into();
    (StatusCode::CREATED, Json(client))
}

async fn authorize(
    State(server): State<Arc<Server>>,
    Query(asked): Query<HashMap<String, String>>,
) -> impl IntoResponse {
    server.note(format!("signed in for {:?}", asked.get("scope").map(String::as_str).unwrap_or_default()));
    assert_eq!(asked.get("resource").map(String::as_str), Some(resource().as_str()));
    let mut codes = server.codes.lock().unwrap();
    let code = format!("code-{}", codes.len());
    let issuer: String = ISSUER.bytes().map(|b| format!("%{b:02x}")).collect();
    let state = asked.get("state").map(|state| format!("&state={state}")).unwrap_or_default();
    let back = format!("{}?code={code}{state}&iss={issuer}", asked["redirect_uri"]);
    codes.insert(code, asked);
    (StatusCode::FOUND, [("location", back)])
}

async fn token(State(server): State<Arc<Server>>, Form(asked): Form<HashMap<String, String>>) -> Response {
    if let Some(scope) = asked.get("refresh_token").and_then(|token| token.strip_prefix("again ")) {
        server.note(format!("refreshed for {scope:?}"));
        return server.token(scope);
    }
    let code = server.codes.lock().unwrap().remove(&asked["code"]);
    let Some(code) = code else { return StatusCode::BAD_REQUEST.into_response() };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(asked["code_verifier"].as_bytes()));
    assert_eq!(code["code_challenge"], challenge, "PKCE (RFC 7636)");
    server.token(code.get("scope").map(String::as_str).unwrap_or_default())
}

/// The protected resource that the client is told of: the server's URL.
fn resource() -> String {
    format!("https://{HOSTED}.clusters.alfred-platform.example.com/mcp")
}

fn host(url: &str) -> String {
    url.trim_start_matches("https://").split('/').next().unwrap().to_owned()
}

/// Ends TLS, and passes on what comes.
async fn tls(address: SocketAddr, acceptor: TlsAcceptor, to: SocketAddr) -> u16 {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let (Ok(mut from), Ok(mut to)) =
                    (acceptor.accept(stream).await, TcpStream::connect(to).await)
                else {
                    return;
                };
                // It ends with either connection.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    port
}

fn client(folder: &Path) -> Command {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp");
    std::fs::create_dir_all(folder).unwrap();
    for file in ["package.json", "package-lock.json", "client.mjs"] {
        std::fs::copy(sources.join(file), folder.join(file)).unwrap();
    }
    let mut install = Command::new("npm");
    install
        .args(["ci", "--no-audit", "--no-fund", "--prefer-offline"])
        .current_dir(folder)
        .stdin(Stdio::null());
    let status = install.status().expect("npm is there: install Node with npm");
    assert!(status.success(), "npm ci failed");
    let mut command = Command::new("node");
    command.arg("client.mjs").current_dir(folder);
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_goes_all_the_way_by_itself() {
    let options = Options { private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    // The cluster asks for a scope of its own.
    let file = mesh.run_dir().join("control/control.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    let own = format!("resources:\n- clusters: [{HOSTED}]\n  requiredScopes: [{NEEDED}]\n");
    assert!(config.contains("\nresources:\n"));
    std::fs::write(&file, config.replacen("resources:\n", &own, 1)).unwrap();
    let sign = |scope: &'static str| {
        let extra = json!({"client_id": CLIENT_AGENTS, "scope": scope});
        (scope, mesh.idp().sign(Algorithm::Es256, &claims("ann@acme.example", TENANT, &extra)).unwrap())
    };
    let tokens = HashMap::from([sign(""), sign(NEEDED)]);
    let poor = mesh.get("/mcp").header("host", host(&resource())).bearer(&tokens[""]);
    wait::in_a_row("the scope that is asked for", mesh.run_dir(), async || {
        let answer = poor.send().await?;
        let refused = answer.header("x-portcullis-reason") == "insufficient_scope";
        Ok(if refused { Seen::Done(()) } else { Seen::NotYet(answer.text()) })
    })
    .await
    .unwrap();
    let server = Arc::new(Server { tokens, codes: Mutex::default(), log: Mutex::default() });
    let router = Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/register", post(register))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .with_state(Arc::clone(&server));
    let here = SocketAddr::new(mesh.plan().ingress().ip(), 0);
    let listener = TcpListener::bind(here).await.unwrap();
    let login = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let hosts = [host(&resource()), host(ISSUER), host(AUDIENCE)];
    let made = rcgen::generate_simple_self_signed(hosts.clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls_config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls_config));
    let gateway = tls(here, acceptor.clone(), mesh.plan().ingress()).await;
    let login = tls(here, acceptor, login).await;

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp");
    let mut command = client(&folder);
    std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    let places = json!([[hosts[0], gateway], [hosts[1], login], [hosts[2], gateway]]);
    command
        .env("NODE_EXTRA_CA_CERTS", folder.join("ca.pem"))
        .env("PLACES", places.to_string())
        .env("ADDRESS", here.ip().to_string())
        .env("SERVER", resource());
    let output = tokio::task::spawn_blocking(move || command.output().expect("node is there")).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = server.log.lock().unwrap().clone();
    mesh.stop().await;
    assert!(output.status.success(), "{said}\n{}\n{log:?}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        json!({"called": "ann@acme.example mcp_agent"}),
        json!({"scope": NEEDED}),
        json!({"refreshed": "ann@acme.example mcp_agent"}),
    ];
    assert_eq!(lines, expected, "{log:?}");
    let expected =
        ["registered", "signed in for \"\"", "signed in for \"data.read\"", "refreshed for \"data.read\""];
    assert_eq!(log, expected);
}
