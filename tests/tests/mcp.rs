//! A stock client of the Model Context Protocol goes all the way by itself, over TLS: from nothing but the server's
//! URL to a tool's answer, with the official SDK. TLS ends at a listener of the gateway, which is opened as an operator
//! does it, and the authorization server is the sample identity provider's.

use std::path::Path;
use std::process::{Command, Stdio};

use portcullis_mesh::idp::{AUDIENCE, Algorithm, ISSUER, PERSON, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_AGENTS, HOSTED, Mesh, Options, TENANT};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// What the cluster asks for, and the client is told only after it has signed in.
const NEEDED: &str = "data.read";

/// The protected resource that the client is told of: the server's URL.
fn resource() -> String {
    format!("https://{HOSTED}.clusters.alfred-platform.example.com/mcp")
}

fn host(url: &str) -> String {
    url.trim_start_matches("https://").split('/').next().unwrap().to_owned()
}

/// Opens the TLS listener in this mesh's own copy of the overlay.
async fn open_tls(mesh: &Mesh) {
    Overlay::local(mesh.manifests()).open_tls().unwrap();
    mesh.apply().await.unwrap();
    wait::until("the TLS listener", &mesh.log("ingressgateway"), async || {
        Ok(match TcpStream::connect(mesh.plan().ingress_tls()).await {
            Ok(_) => Seen::Done(()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await
    .unwrap();
}

/// Has the cluster ask for a scope of its own, and waits until it does.
async fn ask_for_a_scope(mesh: &Mesh) {
    let file = mesh.run_dir().join("control/control.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    let own = format!("resources:\n- clusters: [{HOSTED}]\n  requiredScopes: [{NEEDED}]\n");
    assert!(config.contains("\nresources:\n"));
    std::fs::write(&file, config.replacen("resources:\n", &own, 1)).unwrap();
    let extra = json!({"client_id": CLIENT_AGENTS});
    let token = mesh.idp().sign(Algorithm::Es256, &claims(PERSON, TENANT, &extra)).unwrap();
    let poor = mesh.get("/mcp").header("host", host(&resource())).bearer(&token);
    wait::in_a_row("the scope that is asked for", mesh.run_dir(), async || {
        let answer = poor.send().await?;
        let refused = answer.header("x-portcullis-reason") == "insufficient_scope";
        Ok(if refused { Seen::Done(()) } else { Seen::NotYet(answer.text()) })
    })
    .await
    .unwrap();
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
    ask_for_a_scope(&mesh).await;
    open_tls(&mesh).await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp");
    let mut command = client(&folder);
    std::fs::write(folder.join("ca.pem"), mesh.clients_root()).unwrap();
    let (gateway, login) = (mesh.plan().ingress_tls(), mesh.plan().idp_sign_in());
    let places: Vec<Value> = [(resource().as_str(), gateway), (AUDIENCE, gateway), (ISSUER, login)]
        .map(|(url, at)| json!([host(url), {"host": at.ip(), "port": at.port()}]))
        .to_vec();
    command
        .env("NODE_EXTRA_CA_CERTS", folder.join("ca.pem"))
        .env("PLACES", json!(places).to_string())
        .env("SERVER", resource());
    let output = tokio::task::spawn_blocking(move || command.output().expect("node is there")).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = mesh.idp().served().sign_ins();
    mesh.stop().await;
    assert!(output.status.success(), "{said}\n{}\n{log:?}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let caller = [PERSON, "mcp_agent"].join(" ");
    let expected = [json!({"called": caller}), json!({"scope": NEEDED}), json!({"refreshed": caller})];
    assert_eq!(lines, expected, "{log:?}");
    let signed_in = |scope: &str| format!("signed in for {scope:?} of {}", resource());
    let expected =
        ["registered".to_owned(), signed_in(""), signed_in(NEEDED), format!("refreshed for {NEEDED:?}")];
    assert_eq!(log, expected);
}
