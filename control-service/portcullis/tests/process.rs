//! The process: start, reload, key refresh, stop, and the command line.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use axum::http::StatusCode;
use axum::routing::get;
use portcullis_protocol::wire::RecordKind;
use reqwest::Method;
use serde_json::{Value, json};

use common::{AT_ONCE, GATEWAY, LONG_POLL, PATIENCE, Reader, Server, run, stdout, text, until};

fn stderr(output: &std::process::Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An identity provider: answers 200 with one key, whose `kid` is the number given, or a failure for 0.
async fn identity_provider() -> (String, Arc<AtomicU16>) {
    let number = Arc::new(AtomicU16::new(1));
    let answer = Arc::clone(&number);
    let routes = axum::Router::new().route(
        "/jwks.json",
        get(move || {
            let n = answer.load(Ordering::SeqCst);
            async move {
                let key = common::public_jwk(&n.to_string());
                let status = if n == 0 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
                (status, axum::Json(json!({"keys": [key]})))
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ["http://", &listener.local_addr().unwrap().to_string(), "/jwks.json"].concat();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, number)
}

fn issuer(name: &str, url: &str) -> Value {
    json!({"issuer": name, "audiences": ["a"], "algorithms": ["EdDSA"], "jwksUri": url})
}

fn kids(reader: &Reader, issuer: &str) -> Vec<String> {
    let document = reader.state.issuer(issuer).unwrap();
    document.jwks.keys.iter().filter_map(|k| k.kid.clone()).collect()
}

async fn until_kids(server: &Server, reader: &mut Reader, issuer: &str, wanted: &[&str]) {
    let begun = Instant::now();
    loop {
        reader.poll(server, 1).await;
        if reader.state.issuer(issuer).is_some() && kids(reader, issuer) == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "keys of {issuer} did not become {wanted:?}");
    }
}

#[tokio::test]
async fn keys_are_fetched_followed_and_kept_through_an_outage_and_a_restart() {
    let (url, number) = identity_provider().await;
    let mut server = Server::start_with(|config| {
        config["jwksRefreshSeconds"] = json!(1);
        config["issuers"] = json!([
            issuer("https://down.example.com", "http://127.0.0.1:1/"),
            issuer("https://up.example.com", &url)
        ]);
    })
    .await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    until_kids(&server, &mut reader, "https://up.example.com", &["1"]).await;
    assert_eq!(kids(&reader, "https://down.example.com"), Vec::<String>::new());
    number.store(2, Ordering::SeqCst);
    until_kids(&server, &mut reader, "https://up.example.com", &["2"]).await;
    number.store(0, Ordering::SeqCst);
    server.until_logged("answered 500").await;
    server.restart().await;
    reader.poll(&server, 0).await;
    assert_eq!(kids(&reader, "https://up.example.com"), ["2"]);
}

#[tokio::test]
async fn the_policy_is_reloaded_and_a_bad_file_changes_nothing() {
    let server = Server::start().await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let mut config = common::configuration();
    config["sourceRules"][0]["name"] = json!("renamed");
    config["issuers"] = json!([]);
    common::write_config(server.folder.path(), &config);
    server.signal("HUP");
    let page = reader.poll(&server, LONG_POLL).await;
    assert!(page.records.iter().any(|r| r.kind == RecordKind::SourceRules as i32), "{page:?}");
    reader.poll(&server, 1).await;
    assert_eq!(reader.state.source_rules().rules[0].name, "renamed");
    assert_eq!(reader.state.issuers().count(), 0);

    let revision = reader.state.revision();
    config["sourceRules"][0]["name"] = json!("again");
    config["issuers"] = json!([{"issuer": "https://idp.example.com"}]);
    common::write_config(server.folder.path(), &config);
    server.until_logged("issuers[0].audiences").await;
    reader.poll(&server, 0).await;
    assert_eq!(reader.state.revision(), revision);

    // Without a signal: the file is watched.
    config["issuers"] = json!([]);
    config["mesh"]["gateways"] = json!(["spiffe://cluster.local/ns/other/sa/gateway"]);
    common::write_config(server.folder.path(), &config);
    until("the old gateway is shut out", async || {
        let path = ["/mesh/v1/snapshot?view=gateway&worker=01&nonce=", &"0".repeat(32)].concat();
        server.mesh(Method::GET, &path, GATEWAY).send().await.unwrap().status() == 403
    })
    .await;
}

#[tokio::test]
async fn a_signal_ends_waiting_polls_and_the_process_cleanly() {
    let mut server = Server::start().await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let stop = async {
        server.until_polling(&["01"]).await;
        server.signal("TERM");
    };
    let begun = Instant::now();
    let (page, ()) = tokio::join!(reader.poll(&server, LONG_POLL), stop);
    assert!(page.records.is_empty());
    assert_eq!(server.exit_code().await, Some(0));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn health_readiness_and_metrics_are_served() {
    let server = Server::start().await;
    server.reader("gateway", GATEWAY, "01").sync(&server).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.http.get(server.url("operations", path)).send().await.unwrap().status(), 200);
    }
    let metrics =
        server.http.get(server.url("operations", "/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nportcullis_workers 1\n"), "{metrics}");
    assert!(
        metrics.contains("portcullis_http_requests_total{listener=\"mesh\",status=\"200\"} "),
        "{metrics}"
    );
    // No listener answers for another.
    assert_eq!(server.http.get(server.url("mesh", "/v1/clusters")).send().await.unwrap().status(), 404);
    assert_eq!(
        server.http.get(server.url("platform", "/mesh/v1/snapshot")).send().await.unwrap().status(),
        404
    );
}

#[tokio::test]
async fn a_second_service_and_a_busy_port_are_named() {
    let server = Server::start().await;
    let config = server.config();
    let second = run(&["serve", "--config", config.to_str().unwrap()]);
    assert!(stderr(&second).contains("in use by another `portcullis serve`"));

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("token"), common::MESH_TOKEN).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut busy = common::configuration();
    busy["listeners"]["platform"] = json!(taken.local_addr().unwrap().to_string());
    // Of a network for documents: no machine has it (RFC 5737).
    busy["listeners"]["operations"] = json!("192.0.2.1:9702");
    common::write_config(other.path(), &busy);
    let error = stderr(&run(&["serve", "--config", other.path().join("control.yaml").to_str().unwrap()]));
    assert!(error.contains("listeners.platform") && error.contains("`ss -ltnp` shows"), "{error}");
    assert!(error.contains("listeners.operations") && error.contains("no such address"), "{error}");
    let error = stderr(&run(&["serve", "--config", "nowhere.yaml"]));
    assert!(error.contains("nowhere.yaml") && error.contains("--config"), "{error}");
}

#[test]
fn a_plugin_is_checked_before_it_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("built.yaml");
    let check = || run(&["config", "check", "--plugin", file.to_str().unwrap()]);
    let placeholder = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let plugin = |name: &str, mode: &str| {
        json!({"kind": "WasmPlugin", "metadata": {"namespace": "istio-system", "name": name,
                "labels": {"app.kubernetes.io/part-of": "portcullis"}},
            "spec": {"pluginName": "gateway", "pluginConfig": {"role": "edge", "mode": mode, "domain": "d.example",
                "snapshot": {"upstream": "outbound|9700||c.example", "key": key}}}})
        .to_string()
    };
    let other = json!({"kind": "WasmPlugin", "metadata": {"name": "other"}, "spec": {}}).to_string();
    let built = |plugins: &[String]| std::fs::write(&file, plugins.join("\n---\n")).unwrap();
    built(&[other.clone(), plugin("one", "enforce"), plugin("two", "dry-run")]);
    let output = check();
    let (told, warned) = (common::stdout(&output), String::from_utf8(output.stderr).unwrap());
    for line in [
        "checked istio-system/one: gateway, role edge, mode enforce, snapshot from outbound|9700||c.example",
        "checked istio-system/two: gateway, role edge, mode dry-run, snapshot from outbound|9700||c.example",
        "2 plugins are good",
    ] {
        assert!(told.lines().any(|l| l == line), "{line}: {told}");
    }
    assert!(warned.starts_with("warning: WasmPlugin /other has not the label"), "{warned}");
    built(&[plugin("one", "enforce").replace(key, placeholder)]);
    assert!(stderr(&check()).contains("spec.pluginConfig.snapshot.key: is the placeholder"));
    let hidden = json!({"kind": "VirtualService", "metadata": {"namespace": "n", "name": "v"},
        "spec": {"gateways": ["ingress"], "http": [{"corsPolicy": {"allowMethods": ["GET"]}}]}});
    built(&[plugin("one", "enforce"), hidden.to_string()]);
    let output = check();
    let warned = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(warned.starts_with("warning: VirtualService n/v: a corsPolicy"), "{warned}");
    assert!(common::stdout(&output).ends_with("1 plugins are good"));
    built(&[plugin("one", "enforce"), other.clone(), plugin("two", "enforced")]);
    let error = stderr(&check());
    for part in
        ["1 of 2 plugins", "istio-system/two", "spec.pluginConfig.mode: \"enforced\"", "enforce or dry-run"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("istio-system/one"), "{error}");
    built(&[other]);
    let error = stderr(&check());
    assert!(error.contains("kustomize build") && error.contains("WasmPlugin /other has not"), "{error}");
    let error = stderr(&run(&["config", "check", "--plugin", "nowhere.yaml"]));
    assert!(error.contains("nowhere.yaml"), "{error}");
}

#[tokio::test]
async fn a_database_that_does_not_fit_is_named() {
    let mut server = Server::start().await;
    server.kill();
    let config = server.config();
    let config = config.to_str().unwrap();
    let data = server.folder.path().join("data");
    let key = std::fs::read(data.join("sealing.key")).unwrap();
    std::fs::remove_file(data.join("sealing.key")).unwrap();
    let error = stderr(&run(&["snapshot-key", "--config", config]));
    assert!(error.contains("sealing.key") && error.contains("put your copy of it back"), "{error}");
    std::fs::write(data.join("sealing.key"), key).unwrap();
    let error = stderr(&run(&["snapshot-key", "--config", config]));
    assert!(error.contains("chmod 600"), "{error}");
    std::fs::write(data.join("portcullis.db"), "this is not a database, whatever its name says").unwrap();
    for rest in ["portcullis.db-wal", "portcullis.db-shm"] {
        // What is not there need not go.
        let _ = std::fs::remove_file(data.join(rest));
    }
    let error = stderr(&run(&["snapshot-key", "--config", config]));
    assert!(error.contains("store.dataDir") && error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_a_broken_glass_is_audited() {
    let server = Server::start().await;
    let config = server.config();
    let config = config.to_str().unwrap();
    let error = stderr(&run(&["bootstrap-admin", "--config", config]));
    assert!(error.contains("--break-glass"), "{error}");
    let second = stdout(&run(&["bootstrap-admin", "--config", config, "--break-glass"]));
    let call = server.http.get(server.url("platform", "/v1/audit/records")).bearer_auth(&second);
    let records: Value = call.send().await.unwrap().json().await.unwrap();
    let paths: Vec<_> = records["records"].as_array().unwrap().iter().map(|r| text(&r["path"])).collect();
    assert_eq!(paths, ["/bootstrap-admin", "/bootstrap-admin/break-glass"]);
    // The lost one is revoked with the new one. A new start over the same folder makes no third without the flag.
    let url = server.url("platform", "");
    let admins = |token: &str, arguments: &[&str]| {
        let mut command = common::portcullis();
        command.env("PORTCULLIS_TOKEN", token).env("PORTCULLIS_SERVER", &url);
        command.arg("admins").args(arguments).output().unwrap()
    };
    let (first, id) = (server.admin.as_str(), second.split('_').nth(1).unwrap());
    stdout(&admins(&second, &["revoke", first.split('_').nth(1).unwrap()]));
    assert!(stderr(&admins(first, &["list"])).contains("token_invalid"));
    assert!(stderr(&admins(&second, &["revoke", id])).contains("--break-glass"));
    assert!(stderr(&run(&["bootstrap-admin", "--config", config])).contains("--break-glass"));
    // One for an hour.
    let third =
        stdout(&run(&["bootstrap-admin", "--config", config, "--break-glass", "--expires-in", "3600"]));
    assert!(stdout(&admins(&third, &["list"])).contains(id));
    assert!(stdout(&admins(&third, &["create", "--expires-in", "60"])).contains("token: pca_"));
    assert_eq!(run(&["bootstrap-admin", "--config", config, "--expires-in", "0"]).status.code(), Some(2));
}

#[tokio::test]
async fn the_command_line_does_what_the_api_does() {
    let server = Server::start().await;
    let url = server.url("platform", "");
    let call = |arguments: &[&str]| {
        let mut command = common::portcullis();
        command.env("PORTCULLIS_TOKEN", &server.admin).env("PORTCULLIS_SERVER", &url);
        command.args(arguments).output().unwrap()
    };
    let registered = stdout(&call(&["clusters", "register", "acme", "--tenant", "acme"]));
    assert!(registered.contains("token: pcc_"), "{registered}");
    // Without any worker nobody can say that it has the change.
    let alone = call(&["clusters", "suspend", "acme", "--wait", "1"]);
    assert!(String::from_utf8_lossy(&alone.stdout).contains("state: suspended"));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("no worker is known"));
    assert_eq!(alone.status.code(), Some(3));
    assert!(stdout(&call(&["clusters", "list"])).contains("acme  acme    on_premises  suspended"));
    let created = stdout(&call(&[
        "keys",
        "--output",
        "json",
        "create",
        "--tenant",
        "acme",
        "--subject",
        "s",
        "--source-type",
        "worker",
    ]));
    let id = text(&serde_json::from_str::<Value>(&created).unwrap()["api_key"]["id"]);
    assert!(stdout(&call(&["keys", "revoke", &id])).contains("revoked_at_ms"));
    let records = stdout(&call(&["audit", "records"]));
    assert!(
        records.contains("/v1/clusters/acme/suspend") && records.contains("  TENANT  ISSUER  "),
        "{records}"
    );
    assert!(stdout(&call(&["audit", "status"])).contains("lost: 0"));
    assert!(stderr(&call(&["clusters", "resume", "none"])).contains("cluster_unknown"));

    // A worker that does not acknowledge: the change is made, and the exit code says that it waits.
    server.reader("gateway", GATEWAY, "01").sync(&server).await;
    let waiting = call(&["clusters", "resume", "acme", "--wait", "1"]);
    assert_eq!(waiting.status.code(), Some(3), "{}", String::from_utf8_lossy(&waiting.stderr));
    let mut tokenless = common::portcullis();
    let output = tokenless.args(["clusters", "--server", &url, "list"]).output().unwrap();
    assert!(stderr(&output).contains("PORTCULLIS_TOKEN"));
    let mut nobody = common::portcullis();
    nobody.env("PORTCULLIS_TOKEN", &server.admin).args([
        "clusters",
        "--server",
        "http://127.0.0.1:1",
        "list",
    ]);
    assert!(stderr(&nobody.output().unwrap()).contains("cannot be reached"));
}

#[test]
fn a_reader_that_has_enough_ends_a_command_quietly() {
    let program = env!("CARGO_BIN_EXE_portcullis");
    let command = format!("{program} config schema | true");
    let output = std::process::Command::new("bash").args(["-c", &command]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_name_that_cannot_be_is_refused_before_the_service_is_asked() {
    let server = ["--server", "http://127.0.0.1:1"];
    for (command, told) in [
        (&["clusters", "register", "No label", "--tenant", "acme"][..], "No label"),
        (&["clusters", "register", "acme", "--tenant", "acme", "--placement", "moon"], "on_premises"),
        (&["clusters", "list", "--state", "asleep"], "suspended"),
        (&["keys", "create", "--tenant", "acme", "--subject", "a", "--source-type", "robot"], "mcp_agent"),
        (&["signing-keys", "rotate", "everything"], "identity"),
        (
            &["audit", "records", "--decision", "foo"],
            "[possible values: allow, refuse, exempt, platform, none, open, end]",
        ),
        (&["audit", "records", "--hop", "egress"], "source-type"),
    ] {
        let output = run(&[&command[..1], &server[..], &command[1..]].concat());
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(stderr(&output).contains(told), "{command:?}: {}", stderr(&output));
    }
    for server in ["127.0.0.1:9701", "portcullis", "mailto:a@example.com"] {
        let output = run(&["proxies", "--server", server]);
        assert_eq!(output.status.code(), Some(2), "{server}");
        let told = stderr(&output);
        assert!(told.contains("in full, for example http://127.0.0.1:9701"), "{told}");
    }
}
