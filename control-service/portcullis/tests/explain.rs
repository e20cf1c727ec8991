//! `portcullis explain` and the commands around credentials.

mod common;

use std::io::Write;
use std::process::{Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{GATEWAY, Server, portcullis, run, stdout, text};
use jwt_simple::prelude::*;
use portcullis_mesh::idp::{now_s, sign};
use reqwest::Method;
use serde_json::{Value, json};

/// Runs `explain` with the credential on standard input.
fn explain(server: &Server, credential: &str) -> Output {
    explain_with(&server.config(), credential)
}

fn explain_with(config: &std::path::Path, credential: &str) -> Output {
    let mut child = portcullis()
        .args(["explain", "--config", config.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(credential.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn shown(output: &Output) -> String {
    [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat()
}

/// Whether a line holds all of these.
fn has(output: &Output, words: &[&str]) -> bool {
    shown(output).lines().any(|line| words.iter().all(|w| line.contains(w)))
}

async fn start() -> (Server, Ed25519KeyPair) {
    let idp = Ed25519KeyPair::generate().with_key_id("idp");
    let x = URL_SAFE_NO_PAD.encode(idp.public_key().to_bytes());
    let server = Server::start_with(|config| {
        config["issuers"][0]["jwks"] = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "idp", "x": x}]});
        config["issuers"][0]["requiredClaims"] = json!([{"claim": ["mfa"], "anyOf": ["yes"]}]);
        config["sourceRules"] =
            json!([{"name": "people", "sourceType": "human", "when": {"credential": ["jwt"], "clientId": ["web"]}}]);
    })
    .await;
    (server, idp)
}

fn token(idp: &Ed25519KeyPair, extra: &Value) -> String {
    let mut claims = json!({"iss": "https://idp.example.com", "aud": "portcullis", "sub": "ann", "tenant": "acme",
        "client_id": "web", "mfa": "yes", "iat": now_s(), "exp": now_s() + 100});
    claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    sign(|claims| idp.sign(claims), &claims).unwrap()
}

#[tokio::test]
async fn a_token_is_explained_claim_by_claim_and_never_shown() {
    let (server, idp) = start().await;
    let good = token(&idp, &json!({}));
    let said = explain(&server, &["Bearer ", &good, "\n"].concat());
    assert_eq!(said.status.code(), Some(0), "{}", shown(&said));
    for line in [
        &["iss", "https://idp.example.com", "configured"][..],
        &["alg", "EdDSA", "allowed"],
        &["kid", "idp", "known"],
        &["aud", "portcullis", "accepted: portcullis"],
        &["exp", "in ", "leeway 30 s"],
        &["mfa", "yes", "required, one of yes"],
        &["speaks for", "ann", "acme"],
        &["source type", "human", "rule people"],
        &["verdict", "authenticated"],
    ] {
        assert!(has(&said, line), "{line:?} not in {}", shown(&said));
    }
    let stranger = Ed25519KeyPair::generate().with_key_id("idp");
    for (credential, verdict, why) in [
        (
            token(&idp, &json!({"exp": now_s() - 100, "iat": now_s() - 200})),
            "token_expired",
            "100 s ago|101 s ago|102 s ago",
        ),
        (token(&idp, &json!({"aud": "other"})), "audience_mismatch", "accepted: portcullis"),
        (token(&idp, &json!({"iss": "https://other"})), "issuer_unknown", "not configured"),
        (
            token(&idp, &json!({"client_id": "cli"})),
            "source_type_unknown",
            "none of these rules fits: people",
        ),
        (token(&stranger, &json!({})), "signature_invalid", "known"),
        ("opaque-token-7".to_owned(), "", "no introspection provider"),
        ("a b".to_owned(), "credential_malformed", "status 401"),
    ] {
        let said = explain(&server, &credential);
        assert_eq!(said.status.code(), Some(4), "{}", shown(&said));
        let why = why.split('|').any(|why| has(&said, &[why]));
        assert!(has(&said, &["verdict", "refused: ", verdict]) && why, "{}", shown(&said));
        let secret = credential.rsplit('.').next().unwrap();
        assert!(secret.len() < 5 || !shown(&said).contains(secret), "{}", shown(&said));
    }
    assert!(!shown(&said).contains(good.rsplit('.').next().unwrap()));
}

/// Every file of a folder with a hash of what it holds, but for SQLite's note of who is reading.
fn contents(folder: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let hash = |bytes: Vec<u8>| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish()
    };
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| match path.is_dir() {
        true => contents(&path).into_iter().collect::<Vec<_>>(),
        false => vec![(path.clone(), hash(std::fs::read(&path).unwrap()))],
    });
    files.filter(|(path, _)| !path.to_string_lossy().ends_with("-shm")).collect()
}

#[tokio::test]
async fn the_claim_at_fault_and_the_revocation_that_matches_are_named() {
    let (server, idp) = start().await;
    for (claims, at_fault) in [
        (json!({"tenant": ["acme"]}), "tenant"),
        (json!({"mfa": "no"}), "mfa"),
        (json!({"sub": "a b"}), "sub"),
        (json!({"exp": "soon"}), "exp"),
    ] {
        let said = explain(&server, &token(&idp, &claims));
        assert_eq!(said.status.code(), Some(4), "{}", shown(&said));
        assert!(has(&said, &["at fault", at_fault]) && has(&said, &["claim_invalid"]), "{}", shown(&said));
    }
    let name = "user:acme https://idp.example.com ann";
    let body = json!({"name": name});
    server.expect(201, Method::POST, "/v1/revocations", Some(body)).await;
    let said = explain(&server, &token(&idp, &json!({})));
    assert!(has(&said, &["revoked by", name]) && has(&said, &["credential_revoked"]), "{}", shown(&said));
    // Nobody else of that name.
    let bob = token(&idp, &json!({"sub": "bob"}));
    assert_eq!(explain(&server, &bob).status.code(), Some(0));
    for bad in ["user:ann", "user:acme ann", "user:Acme - ann", "user:acme - a b"] {
        server.expect(400, Method::POST, "/v1/revocations", Some(json!({"name": bad}))).await;
    }
}

#[tokio::test]
async fn a_file_is_explained_before_the_first_serve_and_nothing_is_written() {
    let (server, idp) = start().await;
    let text = std::fs::read_to_string(server.config()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), common::MESH_TOKEN).unwrap();
    let config = folder.path().join("control.yaml");
    std::fs::write(&config, text).unwrap();
    let before = contents(folder.path());
    let said = explain_with(&config, &token(&idp, &json!({})));
    assert_eq!(said.status.code(), Some(0), "{}", shown(&said));
    assert!(has(&said, &["policy", "there is no database yet"]) && has(&said, &["verdict", "authenticated"]));
    let said = explain_with(&config, &token(&idp, &json!({"aud": "other"})));
    assert!(has(&said, &["audience_mismatch"]), "{}", shown(&said));
    assert_eq!(contents(folder.path()), before, "nothing was made");
    // A folder that is served from is only looked at, too, whether or not the service runs.
    drop(server);
    let (mut server, idp) = start().await;
    let good = token(&idp, &json!({}));
    assert_eq!(explain(&server, &good).status.code(), Some(0));
    server.signal("TERM");
    assert_eq!(server.exit_code().await, Some(0));
    let before = contents(server.folder.path());
    let said = explain(&server, &good);
    assert_eq!(said.status.code(), Some(0), "{}", shown(&said));
    assert_eq!(contents(server.folder.path()), before);
}

#[tokio::test]
async fn a_provider_is_asked_about_an_opaque_token() {
    let answer = |body: String| async move {
        let active = body.starts_with("token=at_good&");
        axum::Json(
            json!({"active": active, "sub": "ann", "tenant": "acme", "aud": "portcullis", "client_id": "web"}),
        )
    };
    let routes = axum::Router::new().route("/introspect", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/introspect", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret").unwrap();
    let server = Server::start_with(|config| {
        config["introspection"] = json!([{"name": "corporate", "issuer": "https://opaque", "endpoint": endpoint,
            "clientId": "c", "clientSecretFile": file.path(), "tokenPrefix": "at_", "audiences": ["portcullis"]}]);
        config["sourceRules"] = json!([{"name": "people", "sourceType": "human", "when": {"credential": ["oauth_token"]}}]);
    })
    .await;
    // The command is a child process: the provider must be able to answer while it is waited for.
    let ask = async |credential: &'static str| {
        let config = server.config();
        tokio::task::spawn_blocking(move || explain_with(&config, credential)).await.unwrap()
    };
    let good = ask("at_good").await;
    assert_eq!(good.status.code(), Some(0), "{}", shown(&good));
    assert!(has(&good, &["provider", "corporate", "active"]) && has(&good, &["speaks for", "ann", "acme"]));
    assert!(has(&good, &["source type", "human"]) && !shown(&good).contains("at_good"));
    let bad = ask("at_bad").await;
    assert!(has(&bad, &["verdict", "token_inactive"]), "{}", shown(&bad));
}

#[tokio::test]
async fn keys_and_revocations_are_seen_while_the_service_runs() {
    let (server, idp) = start().await;
    let created = server.create_key("batch").await;
    let key = text(&created["key"]);
    let said = explain(&server, &key);
    assert_eq!(said.status.code(), Some(0), "{}", shown(&said));
    assert!(has(&said, &["source type", "worker", "fixed by the API key"]));
    assert!(!shown(&said).contains(key.split('_').nth(2).unwrap()));
    server.expect(201, Method::POST, "/v1/revocations", Some(json!({"name": "sub:ann"}))).await;
    let said = explain(&server, &token(&idp, &json!({})));
    assert!(has(&said, &["verdict", "credential_revoked"]), "{}", shown(&said));
    let path = ["/v1/api-keys/", &text(&created["api_key"]["id"])].concat();
    server.expect(200, Method::DELETE, &path, None).await;
    assert!(has(&explain(&server, &key), &["verdict", "api_key_unknown"]));
}

#[tokio::test]
async fn the_operators_commands_reach_the_service() {
    let server = Server::start_with(|config| {
        config["serviceTokens"] = json!({"issuer": "https://p.example.com", "audiences": ["portcullis"]});
    })
    .await;
    let url = server.url("platform", "");
    let command = |arguments: &[&str]| {
        let mut command = portcullis();
        command.args(arguments).env("PORTCULLIS_SERVER", &url).env("PORTCULLIS_TOKEN", &server.admin);
        stdout(&command.output().unwrap())
    };
    let made =
        command(&["token", "create", "svc-batch", "--tenant", "acme", "--role", "reader", "--may-exchange"]);
    assert!(made.contains("client_secret: pcs_"), "{made}");
    let list = command(&["token", "list"]);
    assert!(list.contains("svc-batch") && !list.contains("pcs_"), "{list}");
    assert!(command(&["token", "rotate", "svc-batch", "--overlap", "60"]).contains("client_secret: pcs_"));
    assert!(command(&["token", "revoke", "svc-batch"]).contains("revoked_at_ms"));
    assert!(command(&["issuers"]).contains("https://idp.example.com"));
    assert!(command(&["signing-keys", "list"]).contains("signs"));
    assert!(command(&["signing-keys", "rotate", "service"]).contains("published"));
    let key = command(&["keys", "create", "--tenant", "acme", "--subject", "s", "--source-type", "worker"]);
    let id = key.lines().find_map(|l| l.strip_prefix("id: ")).unwrap().to_owned();
    assert!(command(&["keys", "rotate", &id, "--overlap", "60"]).contains("key: pck_"));
    // Everybody of a name is asked for; one person is not.
    let mut wide = portcullis();
    wide.args(["revocations", "add", "sub:zoe"])
        .env("PORTCULLIS_SERVER", &url)
        .env("PORTCULLIS_TOKEN", &server.admin);
    let said = wide.output().unwrap();
    assert!(!said.status.success() && has(&said, &["nothing was revoked", "--yes"]), "{}", shown(&said));
    assert!(!command(&["revocations", "list"]).contains("zoe"));
    command(&["revocations", "add", "sub:zoe", "--yes"]);
    command(&[
        "revocations",
        "add",
        "--tenant",
        "acme",
        "--issuer",
        "https://idp.example.com",
        "--subject",
        "ann",
    ]);
    command(&["revocations", "add", "--tenant", "acme", "--subject", "batch"]);
    let list = command(&["revocations", "list"]);
    for name in ["sub:zoe", "user:acme https://idp.example.com ann", "user:acme - batch"] {
        assert!(list.contains(name), "{name}: {list}");
    }
    command(&["revocations", "add", "sid:abc", "--note", "lost laptop", "--expires-in", "600"]);
    assert!(command(&["revocations", "list"]).contains("lost laptop"));
    command(&["revocations", "remove", "sid:abc"]);
}

#[tokio::test]
async fn a_change_that_was_not_waited_for_says_where_it_is() {
    let server = Server::start().await;
    let url = server.url("platform", "");
    let command = |arguments: &[&str]| {
        let mut command = portcullis();
        command.args(arguments).env("PORTCULLIS_SERVER", &url).env("PORTCULLIS_TOKEN", &server.admin);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    let [key, said] =
        command(&["keys", "create", "--tenant", "acme", "--subject", "s", "--source-type", "worker"]);
    let id = key.lines().find_map(|l| l.strip_prefix("id: ")).unwrap().to_owned();
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.poll(&server, 0).await;
    let [rotated, told] = command(&["keys", "--output", "json", "rotate", &id, "--overlap", "60"]);
    let rotated_id = common::text(&serde_json::from_str::<Value>(&rotated).unwrap()["api_key"]["id"]);
    for part in [
        "stored; 0 of 1 workers have it",
        "--wait SECONDS",
        "The new key is good at a worker as soon as it has this change, not before",
        "s more, until ",
        &id,
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let [_, again] = command(&["keys", "rotate", &rotated_id]);
    assert!(again.contains("has ended: a worker refuses it as soon as it has this change"), "{again}");
    let [_, revoked] = command(&["keys", "revoke", &id]);
    assert!(revoked.contains("0 of 1 workers have it") && !revoked.contains("new key"), "{revoked}");
    // What no proxy must have, and what is only read, says nothing.
    let [_, listed] = command(&["keys", "list"]);
    assert_eq!([said, listed], ["", ""]);
}

#[test]
fn files_with_a_byte_order_mark_are_read() {
    const MARK: &str = "\u{feff}";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), [MARK, "0123456789abcdef"].concat()).unwrap();
    let path = folder.path().join("control.yaml");
    common::write_config(folder.path(), &common::configuration());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, [MARK, &text].concat()).unwrap();
    let check = || run(&["config", "check", "--config", path.to_str().unwrap()]);
    assert!(stdout(&check()).ends_with("\nthe configuration is good"));
    std::fs::write(&path, [&[0xff, 0xfe], text.as_bytes()].concat()).unwrap();
    let said = check();
    assert!(
        !said.status.success() && shown(&said).contains("it is UTF-16; save it as UTF-8"),
        "{}",
        shown(&said)
    );
    let plugins = folder.path().join("plugins.yaml");
    std::fs::write(&plugins, [MARK, "kind: ConfigMap"].concat()).unwrap();
    let said = run(&["config", "check", "--plugin", plugins.to_str().unwrap()]);
    assert!(shown(&said).contains("there is no WasmPlugin"), "{}", shown(&said));
}

#[test]
fn a_configuration_is_checked_without_a_service() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "0123456789abcdef").unwrap();
    let mut config = common::configuration();
    common::write_config(folder.path(), &config);
    let path = folder.path().join("control.yaml");
    let check = || run(&["config", "check", "--config", path.to_str().unwrap()]);
    let said = stdout(&check());
    for line in [
        &["checked ", path.to_str().unwrap()].concat(),
        "  issuers: https://idp.example.com (inline)",
        "  source rules, in order: people",
        "  introspection: none",
        "  not checked: whether addresses answer, the database, and the sealing key",
        "the configuration is good",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}: {said}");
    }
    config["sourceRules"] = json!([]);
    common::write_config(folder.path(), &config);
    let warned = "warning: https://idp.example.com: no source rule can fit";
    let beside = check();
    assert!(
        beside.status.success() && shown(&beside).lines().any(|l| l.starts_with(warned)),
        "{}",
        shown(&beside)
    );
    assert!(!stdout(&beside).contains("warning"), "{}", stdout(&beside));
    config["issuers"][0]["algorithms"] = json!(["HS256"]);
    config["identity"]["lifetimeSeconds"] = json!(61);
    common::write_config(folder.path(), &config);
    let said = check();
    assert_eq!(said.status.code(), Some(1));
    assert!(
        has(&said, &["issuers[0].algorithms"]) && has(&said, &["identity.lifetimeSeconds"]),
        "{}",
        shown(&said)
    );
    let schema: Value = serde_json::from_str(&stdout(&run(&["config", "schema"]))).unwrap();
    assert!(schema["properties"]["issuers"].is_object());
}

#[test]
fn test_identities_are_made_without_a_service_and_verify() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("test.key");
    let make = |extra: &[&str]| {
        let mut arguments = vec!["test-identity", "--key-file", key.to_str().unwrap(), "--cluster", "acme"];
        arguments.extend(extra);
        run(&arguments)
    };
    let token = stdout(&make(&[
        "--subject",
        "ann",
        "--source-type",
        "mcp_agent",
        "--role",
        "reader",
        "--actor",
        "agent-1",
    ]));
    let jwks = stdout(&make(&["--jwks"]));
    let cluster = portcullis_identity::ClusterId::new("acme").unwrap();
    let issuer = "https://portcullis.test/identity";
    let verifier = portcullis_identity::Verifier::from_jwks(&jwks, issuer, cluster).unwrap();
    let caller = verifier.verify(&token, now_s()).unwrap();
    assert_eq!((caller.subject.as_str(), caller.actors[0].as_str()), ("ann", "agent-1"));
    let late = stdout(&make(&["--age", "70"]));
    assert!(verifier.verify(&late, now_s()).is_err());
    assert_eq!(make(&["--subject", "a b"]).status.code(), Some(1));
    assert_eq!(make(&["--source-type", "robot"]).status.code(), Some(2));
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o077, 0);
}
