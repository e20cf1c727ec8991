//! The configuration of a running service: what a changed file does, and what the service says of it.

mod common;
#[path = "common/variations.rs"]
mod variations;

use std::path::PathBuf;
use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};

use common::{MESH_TOKEN, Server, until, write_config};

/// Fields of what is taken over that reach no filter: how the service itself asks, and whom it answers.
const NOT_IN_THE_SNAPSHOT: &[&str] = &[
    "mesh.gateways",
    "mesh.tunnelGateways",
    "mesh.sidecars[].cluster",
    "mesh.sidecars[].principals",
    "jwksRefreshSeconds",
    "issuers[].jwksUri",
    "issuers[].discovery",
    "issuers[].bearerTokenFile",
    "issuers[].caFile",
    "issuers[].maxStaleSeconds",
    "tenantLimits.clusters",
    "tenantLimits.apiKeys",
    "tenantLimits.serviceClients",
    "tenantLimits.administrators",
    "tenantLimits.revocations",
    "platformCallers[].issuer",
    "platformCallers[].audiences",
    "platformCallers[].dedicatedAudience",
    "platformCallers[].accessTokenClaim.claim",
    "platformCallers[].accessTokenClaim.anyOf",
    "platformCallers[].tenant",
    "platformCallers[].roles[].role",
    "platformCallers[].roles[].tenant",
    "platformCallers[].roles[].clusterClaim",
    "platformCallers[].roles[].when[].claim",
    "platformCallers[].roles[].when[].anyOf",
    "introspection[].clientSecretFile",
    "introspection[].clientAuth",
    "introspection[].timeoutMilliseconds",
    "introspection[].maxInFlight",
];

async fn start() -> Server {
    let folder = tempfile::tempdir().unwrap();
    variations::write_files(folder.path());
    std::fs::write(folder.path().join("mesh-token"), MESH_TOKEN).unwrap();
    Server::start_in(folder, |config| *config = variations::base()).await
}

async fn in_use(server: &Server) -> Value {
    server.expect(200, Method::GET, "/v1/configuration", None).await
}

async fn revision(server: &Server) -> u64 {
    server.expect(200, Method::GET, "/v1/proxies", None).await["revision"].as_u64().unwrap()
}

fn rewrite(server: &Server, config: &Value) {
    write_config(server.folder.path(), config);
    server.signal("HUP");
}

fn pending(report: &Value) -> Vec<String> {
    report["pending"].as_array().unwrap().iter().map(|d| common::text(&d["field"])).collect()
}

/// Nothing is reloaded without effect: each field is in use afterwards, or told to wait for a restart.
#[tokio::test]
async fn every_field_of_a_changed_file_is_in_use_or_told_to_wait_for_a_restart() {
    let server = start().await;
    let before = in_use(&server).await;
    assert_eq!((&before["pending"], &before["refused"]), (&json!([]), &json!([])));
    let (mut live, mut restart) = (0, 0);
    for variation in variations::variations() {
        let field = variation.0;
        let old_revision = revision(&server).await;
        rewrite(&server, &variations::varied(&variation));
        until(field, async || in_use(&server).await != before).await;
        let report = in_use(&server).await;
        assert_eq!(report["refused"], json!([]), "{field}");
        let waiting = pending(&report);
        if report["settings"] == before["settings"] {
            restart += 1;
            assert!(waiting.iter().any(|name| field.starts_with(name)), "{field}: {waiting:?}");
            server.until_logged(&["\"fields\":\"", &waiting.join(", "), "\""].concat()).await;
        } else {
            live += 1;
            assert_eq!(waiting, Vec::<String>::new(), "{field}");
            let published = revision(&server).await > old_revision;
            assert_eq!(published, !NOT_IN_THE_SNAPSHOT.contains(&field), "{field} reaches filters");
        }
        rewrite(&server, &variations::base());
        until(field, async || in_use(&server).await == before).await;
    }
    assert!(live > 60 && restart > 20, "{live} {restart}");
}

/// `portcullis config diff`, of a file in place of the service's own if one is given.
fn diff(server: &Server, file: Option<&PathBuf>, arguments: &[&str]) -> Output {
    let own = server.config();
    let mut command = common::portcullis();
    command.args(["config", "diff", "--config"]).arg(file.unwrap_or(&own)).args(arguments);
    command.env("PORTCULLIS_TOKEN", &server.admin).env("PORTCULLIS_SERVER", server.url("platform", ""));
    command.output().unwrap()
}

fn printed(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn config_diff_says_what_a_file_would_change_and_when() {
    let server = start().await;
    assert_eq!(printed(&diff(&server, None, &[])), (0, String::new(), String::new()));
    let other = server.folder.path().join("other.yaml");
    let mut config = variations::base();
    config["listeners"]["platform"] = json!("127.0.0.1:1");
    config["issuers"][0]["audiences"] = json!(["another\u{1b}[2J"]);
    std::fs::write(&other, config.to_string()).unwrap();
    let (code, told, error) = printed(&diff(&server, Some(&other), &[]));
    let expected = "issuers[https://idp.example.com].audiences: taken over by a running service\n  - [\"portcullis\"]\n  + [\"another\\u001b[2J\"]\nlisteners.platform: needs a restart\n  - \"127.0.0.1:0\"\n  + \"127.0.0.1:1\"\n";
    assert_eq!((code, told.as_str()), (1, expected), "{error}");
    assert!(
        error.contains("2 field(s) differ: 1 taken over by a running service, 1 in use after"),
        "{error}"
    );
    let (code, told, _) = printed(&diff(&server, Some(&other), &["--output", "json"]));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["differences"][1]["effect"]), (1, &json!("restart")));
    // What cannot be told is no difference.
    std::fs::write(&other, "issuers: [").unwrap();
    let (code, _, error) = printed(&diff(&server, Some(&other), &[]));
    assert!(code == 2 && error.contains("not YAML"), "{code} {error}");
    let (code, _, error) = printed(&diff(&server, None, &["--server", "http://127.0.0.1:1"]));
    assert!(code == 2 && error.contains("cannot be reached"), "{code} {error}");
}

#[tokio::test]
async fn a_new_mesh_token_and_a_refused_file_are_told_and_nothing_secret_is_shown() {
    let server = start().await;
    let answer = in_use(&server).await.to_string();
    for secret in [MESH_TOKEN, "s3cret", "t0ken", "0123456789abcdef", "BEGIN CERTIFICATE"] {
        assert!(!answer.contains(secret), "{secret}");
    }
    std::fs::write(server.folder.path().join("mesh-token"), "another-token-of-the-mesh").unwrap();
    server.signal("HUP");
    until("the token is told", async || pending(&in_use(&server).await) == ["mesh.tokenFile"]).await;
    let (code, told, _) = printed(&diff(&server, None, &[]));
    assert!(
        code == 1 && told.contains("mesh.tokenFile: needs a restart\n  the file that it names"),
        "{told}"
    );
    let metrics = async || {
        server.http.get(server.url("operations", "/metrics")).send().await.unwrap().text().await.unwrap()
    };
    assert!(metrics().await.contains("\nportcullis_config_restart_pending 1\n"));
    let mut bad = variations::base();
    bad["issuers"][0]["audiences"] = json!([]);
    rewrite(&server, &bad);
    let refused = json!(["issuers[0].audiences"]);
    until("the file is refused", async || in_use(&server).await["refused"] == refused).await;
    assert!(metrics().await.contains("\nportcullis_config_refused 1\n"));
    let other = server.folder.path().join("other.yaml");
    std::fs::write(&other, variations::base().to_string()).unwrap();
    let (_, told, _) = printed(&diff(&server, Some(&other), &[]));
    assert!(
        told.starts_with("warning: the service refuses the file that it has itself, for: issuers[0]"),
        "{told}"
    );
    let log = server.log();
    assert!(!log.contains("another-token") && log.contains("\"fields\":\"mesh.tokenFile\""), "{log}");
}
