//! The platform API: its errors, the life of a cluster, keys and revocations.

mod common;

use common::{GATEWAY, Server, text, until};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn errors_are_problem_documents_with_stable_reasons() {
    let server = Server::start().await;
    server.register("acme").await;
    server.register("old").await;
    server.expect(200, Method::DELETE, "/v1/clusters/old", None).await;
    let new = |id: &str| json!({"id": id, "tenant": "acme", "placement": "on_premises"});
    let key = |source: &str| json!({"tenant": "acme", "subject": "s", "source_type": source});
    let cases = [
        (Method::POST, "/v1/clusters", Some(new("acme")), 409, "cluster_exists"),
        (Method::POST, "/v1/clusters", Some(new("old")), 409, "cluster_exists"),
        (Method::POST, "/v1/clusters", Some(new("Bad_Id")), 400, "body_invalid"),
        (Method::POST, "/v1/clusters", Some(json!({"id": "x"})), 400, "body_invalid"),
        (
            Method::POST,
            "/v1/clusters",
            Some(json!({"id": "x", "tenant": "t", "placement": "on_premises", "extra": 1})),
            400,
            "body_invalid",
        ),
        (Method::POST, "/v1/clusters", None, 415, "media_type_unsupported"),
        (Method::POST, "/v1/clusters", Some(json!("x".repeat(70_000))), 413, "body_too_large"),
        (Method::GET, "/v1/clusters/none", None, 404, "cluster_unknown"),
        (Method::GET, "/v1/clusters/Bad_Id", None, 400, "parameter_invalid"),
        (Method::GET, "/v1/clusters?limit=1001", None, 400, "parameter_invalid"),
        (Method::GET, "/v1/clusters?colour=red", None, 400, "parameter_invalid"),
        (Method::POST, "/v1/clusters/none/suspend", None, 404, "cluster_unknown"),
        (Method::POST, "/v1/clusters/acme/suspend?wait=31", None, 400, "parameter_invalid"),
        (Method::POST, "/v1/clusters/old/suspend", None, 410, "cluster_retired"),
        (Method::POST, "/v1/clusters/old/resume", None, 410, "cluster_retired"),
        (Method::PUT, "/v1/clusters", None, 405, "method_not_allowed"),
        (Method::GET, "/v2/clusters", None, 404, "not_found"),
        (Method::POST, "/v1/api-keys", Some(key("robot")), 400, "body_invalid"),
        (Method::DELETE, "/v1/api-keys/none", None, 404, "api_key_unknown"),
        (Method::POST, "/v1/revocations", Some(json!({"name": "alice"})), 400, "body_invalid"),
        (Method::DELETE, "/v1/revocations?name=sub:none", None, 404, "revocation_unknown"),
    ];
    for (method, path, body, status, reason) in cases {
        let mut call = server.api(method.clone(), path);
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path}");
        let found = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(
            (found, text(&problem["reason"])),
            (status, reason.to_owned()),
            "{method} {path}: {problem}"
        );
        assert_eq!(problem["status"], status);
        assert!(!text(&problem["detail"]).is_empty());
    }
    assert_eq!(server.state_of("acme").await, "pending", "no refused call may change anything");
}

#[tokio::test]
async fn only_an_administrator_gets_in() {
    let server = Server::start().await;
    let cluster = server.register("acme").await;
    let key = server.create_key("s").await;
    let url = server.url("platform", "/v1/clusters");
    let forged = common::forge(&server.admin);
    let missing = server.http.get(&url).send().await.unwrap();
    assert_eq!(missing.status(), 401);
    assert_eq!(missing.headers()["www-authenticate"], "Bearer");
    assert_eq!(missing.json::<Value>().await.unwrap()["reason"], "token_missing");
    let twice = server.api(Method::GET, "/v1/clusters").header("authorization", "Bearer x");
    assert_eq!(twice.send().await.unwrap().status(), 401, "two credentials");
    for token in [&forged, &text(&cluster["token"]), &text(&key["key"]), common::MESH_TOKEN] {
        // Whoever fails often is slowed down.
        let mut answer = None;
        until("the call is looked at", async || {
            let answered = server.http.get(&url).bearer_auth(token).send().await.unwrap();
            answer = (answered.status() != 429).then_some(answered);
            answer.is_some()
        })
        .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "token_invalid");
    }
}

#[tokio::test]
async fn an_administrators_token_ends_when_it_is_revoked_or_over() {
    let server = Server::start().await;
    let status = async |token: &str| {
        let call = server.http.get(server.url("platform", "/v1/clusters")).bearer_auth(token);
        call.send().await.unwrap().status().as_u16()
    };
    let first = server.admin.split('_').nth(1).unwrap();
    let path_of = |id: &str| ["/v1/administrators/", id].concat();
    // Without another one, the last one stays.
    let problem = server.expect(409, Method::DELETE, &path_of(first), None).await;
    assert_eq!(problem["reason"], "administrator_last");
    let detail = text(&problem["detail"]);
    assert!(detail.contains("portcullis admins create") && detail.contains("--break-glass"), "{detail}");
    server.expect(404, Method::DELETE, &path_of("0011223344556677"), None).await;
    let made = server.expect(201, Method::POST, "/v1/administrators", None).await;
    let (second, id) = (text(&made["token"]), text(&made["administrator"]["id"]));
    assert_eq!((status(&second).await, second.split('_').nth(1)), (200, Some(id.as_str())));
    // It is gone with the next call, and doing it again changes nothing.
    let revoked = server.expect(200, Method::DELETE, &path_of(&id), None).await;
    assert!(revoked["administrator"]["revoked_at_ms"].is_u64());
    assert_eq!(status(&second).await, 401);
    assert_eq!(server.expect(200, Method::DELETE, &path_of(&id), None).await, revoked);
    server.expect(409, Method::DELETE, &path_of(first), None).await;
    // One that ends by itself is no other one any more.
    let body = Some(json!({"expires_in_s": 2}));
    let short = text(&server.expect(201, Method::POST, "/v1/administrators", body).await["token"]);
    assert_eq!(status(&short).await, 200);
    until("it is over", async || status(&short).await == 401).await;
    server.expect(409, Method::DELETE, &path_of(first), None).await;
    server.expect(400, Method::POST, "/v1/administrators", Some(json!({"expires_in_s": 0}))).await;
    let list = server.expect(200, Method::GET, "/v1/administrators", None).await;
    assert_eq!(list["administrators"].as_array().unwrap().len(), 3);
    for secret in [&server.admin, &second, &short] {
        assert!(!list.to_string().contains(&secret[20..]));
    }
    // Everything is audited, what was refused too.
    let records = server.expect(200, Method::GET, "/v1/audit/records?limit=1000", None).await;
    let of = |method: &str, path: &str, status: u16| {
        let records = records["records"].as_array().unwrap();
        let fits = |r: &&Value| r["method"] == method && r["path"] == path && r["status"] == status;
        records.iter().filter(fits).count()
    };
    assert_eq!(of("POST", &path_of(&id), 201), 1);
    assert_eq!(of("DELETE", &path_of(&id), 200), 2);
    assert_eq!(of("DELETE", &path_of(first), 409), 3);
}

#[tokio::test]
async fn heartbeats_and_operators_together_make_the_state() {
    let server = Server::start_with(|config| config["clusters"] = json!({"offlineAfterSeconds": 3})).await;
    let token = text(&server.register("acme").await["token"]);
    let other = text(&server.register("globex").await["token"]);
    assert_eq!(server.state_of("acme").await, "pending");
    let (status, answer) = server.heartbeat("acme", &token, None).await;
    assert_eq!((status.as_u16(), text(&answer["state"])), (200, "online".into()));
    let degraded = json!({"status": "degraded", "version": "1.2.3"});
    assert_eq!(server.heartbeat("acme", &token, Some(degraded)).await.1["state"], "degraded");
    for version in ["", "1\u{1b}[2J", "1 2", &"9".repeat(65)] {
        let (status, problem) = server.heartbeat("acme", &token, Some(json!({"version": version}))).await;
        assert_eq!((status.as_u16(), text(&problem["reason"])), (400, "body_invalid".into()), "{version:?}");
    }
    until("silence makes it offline", async || server.state_of("acme").await == "offline").await;
    assert_eq!(server.state_of("globex").await, "pending", "never seen is not offline");
    assert_eq!(server.heartbeat("acme", &token, None).await.1["state"], "online");

    // Suspended stays suspended whatever it reports; resumed, it is what it reported.
    server.expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    assert_eq!(server.heartbeat("acme", &token, None).await.1["state"], "suspended");
    assert_eq!(server.state_of("acme").await, "suspended");
    let resumed = server.expect(200, Method::POST, "/v1/clusters/acme/resume", None).await;
    assert_eq!(resumed["cluster"]["state"], "online");
    server.expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    // Its silence counts meanwhile.
    until("it is offline when it is resumed", async || {
        assert_eq!(server.state_of("acme").await, "suspended");
        let resumed = server.expect(200, Method::POST, "/v1/clusters/acme/resume", None).await;
        let offline = resumed["cluster"]["state"] == "offline";
        if !offline {
            server.expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
        }
        offline
    })
    .await;

    // Nobody speaks for another cluster, or for one that is not there.
    for (id, token) in
        [("acme", &other), ("none", &token), ("acme", &common::forge(&token)), ("acme", &server.admin)]
    {
        let (status, problem) = server.heartbeat(id, token, None).await;
        assert_eq!((status.as_u16(), text(&problem["reason"])), (401, "token_invalid".into()));
    }
    server.expect(200, Method::DELETE, "/v1/clusters/acme", None).await;
    let (status, problem) = server.heartbeat("acme", &token, None).await;
    assert_eq!((status.as_u16(), text(&problem["reason"])), (410, "cluster_retired".into()));
    assert_eq!(server.state_of("acme").await, "retired");
}

#[tokio::test]
async fn a_heartbeat_without_its_clusters_token_is_audited_and_slowed_down_and_nobody_else_is() {
    let server = Server::start().await;
    let token = text(&server.register("acme").await["token"]);
    let wrong = common::forge(&token);
    let (good, mut limited) = (&token, 0);
    for n in 0..60 {
        let (id, token) = [("acme", &wrong), ("none", &wrong), ("acme", &server.admin)][n % 3];
        let (status, problem) = server.heartbeat(id, token, None).await;
        match status.as_u16() {
            401 => assert_eq!(problem["reason"], "token_invalid"),
            429 => {
                assert_eq!(problem["reason"], "too_many_refusals");
                limited += 1;
            }
            other => panic!("{other}: {problem}"),
        }
        assert_eq!(server.heartbeat("acme", good, None).await.0, 200);
    }
    assert!(limited >= 40, "{limited}");
    let records =
        server.expect(200, Method::GET, "/v1/audit/records?reason=token_invalid&limit=1000", None).await;
    let records = records["records"].as_array().unwrap();
    assert!((5..=20).contains(&records.len()), "{records:?}");
    let of = |path: &str| records.iter().find(|record| record["path"] == path).unwrap();
    let (own, nobodys) = (of("/v1/clusters/acme/heartbeat"), of("/v1/clusters/none/heartbeat"));
    // Whose cluster it is may know of it, and a name that is nobody's is not believed.
    assert_eq!((&own["cluster"], &own["tenant"]), (&json!("acme"), &json!("acme")));
    assert_eq!((&nobodys["cluster"], &nobodys["tenant"]), (&json!(""), &json!("")));
    let id = token.split('_').nth(1).unwrap();
    assert_eq!(
        (&own["credential"], &own["key_id"], &own["status"]),
        (&json!("cluster_token"), &json!(id), &json!(401))
    );
    assert!(!records.iter().any(|record| record.to_string().contains(&wrong[wrong.len() - 20..])));
    let url = server.url("operations", "/metrics");
    let metrics = server.http.get(url).send().await.unwrap().text().await.unwrap();
    let line = format!("portcullis_refused_clusters_total{{outcome=\"paused\"}} {limited}");
    assert!(metrics.contains(&line), "{line} not in {metrics}");
}

#[tokio::test]
async fn states_and_tokens_survive_a_restart() {
    let mut server = Server::start().await;
    let token = text(&server.register("acme").await["token"]);
    server.heartbeat("acme", &token, None).await;
    server.register("globex").await;
    server.expect(200, Method::POST, "/v1/clusters/globex/suspend", None).await;
    server.restart().await;
    assert_eq!(server.state_of("acme").await, "online");
    assert_eq!(server.state_of("globex").await, "suspended");
    assert_eq!(server.heartbeat("acme", &token, None).await.0.as_u16(), 200);
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let server = Server::start().await;
    for n in 0..5 {
        server.register(&["c", &n.to_string()].concat()).await;
    }
    server.expect(200, Method::POST, "/v1/clusters/c3/suspend", None).await;
    let ids = |page: &Value| -> Vec<String> {
        page["clusters"].as_array().unwrap().iter().map(|c| text(&c["id"])).collect()
    };
    let first = server.expect(200, Method::GET, "/v1/clusters?limit=2", None).await;
    assert_eq!((ids(&first), text(&first["next"])), (vec!["c0".into(), "c1".into()], "c1".into()));
    let last = server.expect(200, Method::GET, "/v1/clusters?limit=3&after=c1", None).await;
    assert_eq!((ids(&last).len(), &last["next"]), (3, &Value::Null));
    let suspended = server.expect(200, Method::GET, "/v1/clusters?state=suspended", None).await;
    assert_eq!(ids(&suspended), ["c3"]);
    let others = server.expect(200, Method::GET, "/v1/clusters?tenant=globex", None).await;
    assert_eq!(ids(&others), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_is_shown_once_and_revoked_for_good() {
    let server = Server::start().await;
    let created = server.create_key("batch").await;
    let key = text(&created["key"]);
    let id = text(&created["api_key"]["id"]);
    assert!(key.starts_with(&["pck_", &id, "_"].concat()), "{key}");
    let list = server.expect(200, Method::GET, "/v1/api-keys?tenant=acme", None).await;
    assert_eq!(list["api_keys"][0]["id"], id.as_str());
    assert!(!list.to_string().contains(&key));
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let digest = portcullis_protocol::audit::keyed_hash(reader.state.pepper().unwrap(), key.as_bytes());
    let entry = reader.state.api_key(&digest).unwrap();
    assert_eq!((entry.id.as_str(), entry.subject.as_str()), (id.as_str(), "batch"));
    let path = ["/v1/api-keys/", &id].concat();
    let revoked = server.expect(200, Method::DELETE, &path, None).await;
    assert!(revoked["api_key"]["revoked_at_ms"].is_u64());
    reader.sync(&server).await;
    assert!(reader.state.api_key(&digest).is_none());
    // Again: the same answer, no second revocation.
    let again = server.expect(200, Method::DELETE, &path, None).await;
    assert_eq!(again["api_key"]["revoked_at_ms"], revoked["api_key"]["revoked_at_ms"]);
}

#[tokio::test]
async fn no_secret_lies_readable_in_the_data_folder_or_the_log() {
    let mut server = Server::start_with(|config| config["log"] = json!({"level": "trace"})).await;
    let cluster = text(&server.register("acme").await["token"]);
    let key = text(&server.create_key("batch").await["key"]);
    server.heartbeat("acme", &cluster, None).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let (signer, pepper) = (reader.state.signer().unwrap().seed, *reader.state.pepper().unwrap());
    let secret_of = |token: &str| token.split('_').nth(2).unwrap().as_bytes().to_vec();
    let secrets = [
        secret_of(&cluster),
        secret_of(&key),
        secret_of(&server.admin),
        common::MESH_TOKEN.as_bytes().to_vec(),
        signer.to_vec(),
        pepper.to_vec(),
    ];
    server.signal("TERM");
    assert_eq!(server.exit_code().await, Some(0));
    let mut files = vec![server.folder.path().join("log")];
    files.extend(std::fs::read_dir(server.folder.path().join("data")).unwrap().map(|f| f.unwrap().path()));
    assert!(files.iter().any(|f| f.ends_with("portcullis.db")));
    for file in files {
        if !file.ends_with("log") && !file.ends_with("serve.lock") {
            let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
            assert_eq!(mode & 0o077, 0, "{} is open to others", file.display());
        }
        let bytes = std::fs::read(&file).unwrap();
        for (at, secret) in secrets.iter().enumerate() {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret), "secret {at} in {}", file.display());
        }
    }
}

#[tokio::test]
async fn revocations_reach_gateways_and_can_be_taken_back() {
    let server = Server::start().await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    let body = json!({"name": "jti:stolen", "note": "reported"});
    server.expect(201, Method::POST, "/v1/revocations", Some(body.clone())).await;
    server.expect(409, Method::POST, "/v1/revocations", Some(body)).await;
    reader.sync(&server).await;
    assert!(reader.state.is_revoked("jti:stolen"));
    let list = server.expect(200, Method::GET, "/v1/revocations", None).await;
    assert_eq!(list["revocations"][0]["note"], "reported");
    server.expect(200, Method::DELETE, "/v1/revocations?name=jti:stolen", None).await;
    reader.sync(&server).await;
    assert!(!reader.state.is_revoked("jti:stolen"));
}

#[tokio::test]
async fn the_public_identity_keys_are_those_of_the_signer() {
    use base64::Engine;
    let server = Server::start().await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let signer = reader.state.signer().unwrap();
    let set: Value = server
        .http
        .get(server.url("platform", "/v1/identity/jwks"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let key = &set["keys"][0];
    let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text(&key["x"])).unwrap();
    assert_eq!(x, portcullis_protocol::snapshot::public_key(signer.seed));
    assert_eq!((text(&key["kid"]), text(&key["alg"])), (signer.key_id.to_string(), "EdDSA".into()));
}
