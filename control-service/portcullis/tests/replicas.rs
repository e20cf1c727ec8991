//! Several replicas of the service, as processes, on one real PostgreSQL.

mod common;

use std::time::{Duration, Instant};

use portcullis_protocol::wire::RecordKind;
use reqwest::Method;
use serde_json::{Value, json};

use common::replicas::{Replicas, leader, leads};
use common::{GATEWAY, PATIENCE, SLACK, Server, text, until};

#[tokio::test]
async fn a_filter_may_poll_any_replica_and_change_replicas() {
    let replicas = Replicas::start("change", 3).await;
    let mut gateway = replicas[0].reader("gateway", GATEWAY, "01");
    gateway.sync(&replicas[0]).await;
    for n in 0..30 {
        let (writer, reader) = (&replicas[n % 3], &replicas[(n + 1) % 3]);
        let id = ["c", &n.to_string()].concat();
        let revision = writer.register(&id).await["revision"].as_u64().unwrap();
        // It reads at once where the change was not made, and has it in the end, without a resync.
        until("the change is there", async || {
            let page = gateway.poll(reader, 0).await;
            assert!(!page.reset);
            gateway.state.revision() >= revision
        })
        .await;
    }
    for server in replicas.iter() {
        let (status, told) = server.readiness().await;
        assert!(status == 200 && !told.contains("configuration"), "{told}");
        let list = server.expect(200, Method::GET, "/v1/clusters?limit=100", None).await;
        assert_eq!(list["clusters"].as_array().unwrap().len(), 30);
    }
}

#[tokio::test]
async fn a_cluster_reports_to_any_replica_with_the_token_that_another_gave_it() {
    let replicas = Replicas::start("heartbeat", 2).await;
    let token = text(&replicas[0].register("acme").await["token"]);
    assert_eq!(replicas[1].heartbeat("acme", &token, None).await.0, 200);
    assert_eq!(replicas[1].heartbeat("acme", &common::forge(&token), None).await.0, 401);
    assert_eq!(replicas[1].heartbeat("nobody", &token, None).await.0, 401);
    assert_eq!(replicas[0].state_of("acme").await, "online");
}

/// A replica that cannot ask the database must not look as if nothing had changed.
#[tokio::test]
async fn a_replica_without_its_database_is_not_ready_and_answers_nothing_as_fresh() {
    let mut replicas = Replicas::start("cut", 2).await;
    let token = text(&replicas[0].register("acme").await["token"]);
    let server = &replicas[1];
    assert_eq!(server.heartbeat("acme", &token, None).await.0, 200);
    let mut gateway = server.reader("gateway", GATEWAY, "01");
    gateway.sync(server).await;
    replicas.database.kill().await.unwrap();
    let server = &replicas[1];
    until("it says why it is not ready", async || {
        server.readiness().await
            == (503, "not ready: the database cannot be used; the service's log says why\n".into())
    })
    .await;
    until("it counts as behind", async || server.metric("portcullis_replica_behind").await == 1).await;
    assert!(
        server.readiness().await.1.contains("the database cannot be used"),
        "no replica is blamed for it"
    );
    let refused = gateway.ask(server, 0).await;
    assert_eq!(refused.status(), 503);
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["reason"], "replica_behind");
    let (status, answer) = server.heartbeat("acme", &token, None).await;
    assert_eq!((status.as_u16(), &answer["reason"]), (503, &json!("replica_behind")));
    let metrics = server.http.get(server.url("operations", "/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("portcullis_replica_behind 1\n"), "{metrics}");
    replicas.database.restart().await.unwrap();
    let server = &replicas[1];
    until("it is ready again", async || server.readiness().await.0 == 200).await;
    gateway.sync(server).await;
    assert_eq!(server.heartbeat("acme", &token, None).await.0, 200);
}

/// A connection that hangs says nothing, unlike one that breaks.
#[tokio::test]
async fn a_new_filter_is_told_in_time_that_its_replica_is_behind_a_database_that_hangs() {
    let replicas = Replicas::start("hangs", 1).await;
    let server = &replicas[0];
    let mut gateway = server.reader("gateway", GATEWAY, "01");
    replicas.database.pause().unwrap();
    let begun = Instant::now();
    let refused = gateway.ask(server, 0).await;
    let took = begun.elapsed();
    let (ready, told) = server.ready().await;
    replicas.database.unpause().unwrap();
    assert!(!ready && told.contains("not ready: the database "), "{told}");
    assert!(took < Duration::from_secs(4) + SLACK, "{took:?}");
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json::<Value>().await.unwrap()["reason"], "replica_behind");
    until("it answers again", async || gateway.ask(server, 0).await.status() == 200).await;
    gateway.sync(server).await;
}

/// Which one leads, but for one.
async fn leader_but(replicas: &[Server], but: usize) -> Option<usize> {
    leader(replicas).await.filter(|n| *n != but)
}

/// Waits until another one than the one that led does.
async fn next_leader(replicas: &[Server], before: usize) -> usize {
    let begun = Instant::now();
    until("another one leads", async || leader_but(replicas, before).await.is_some()).await;
    assert!(begun.elapsed() < Duration::from_secs(5) + SLACK, "{:?}", begun.elapsed());
    leader_but(replicas, before).await.unwrap()
}

#[tokio::test]
async fn another_one_leads_when_the_leader_is_killed_or_hangs() {
    let mut replicas = Replicas::start("lead", 3).await;
    assert_eq!(leader(&replicas).await, Some(0), "who was first leads");
    replicas[0].kill();
    let second = next_leader(&replicas[1..], 9).await + 1;
    replicas[0].restart().await;
    replicas[second].signal("STOP");
    let others: Vec<_> = (0..3).filter(|n| *n != second).collect();
    let begun = Instant::now();
    until("another one leads", async || {
        leads(&replicas[others[0]]).await || leads(&replicas[others[1]]).await
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5) + SLACK, "{:?}", begun.elapsed());
    replicas[second].signal("CONT");
    until("who hung leads no more", async || !leads(&replicas[second]).await).await;
    assert!(leader_but(&replicas, second).await.is_some());
}

#[tokio::test]
async fn a_cluster_that_reports_to_any_replica_stays_and_one_that_falls_silent_is_offline() {
    let offline = |config: &mut Value| config["clusters"] = json!({"offlineAfterSeconds": 4});
    let mut replicas = Replicas::start_with("silent", 3, offline).await;
    let alive = text(&replicas[0].register("alive").await["token"]);
    let silent = text(&replicas[1].register("silent").await["token"]);
    assert_eq!(replicas[2].heartbeat("silent", &silent, None).await.1["state"], "online");
    let begun = Instant::now();
    let mut killed = false;
    // It reports to one that does not lead, and to the other one.
    for n in 0.. {
        let server = &replicas[1 + n % 2];
        assert_eq!(server.heartbeat("alive", &alive, None).await.1["state"], "online");
        assert_eq!(replicas[2].state_of("alive").await, "online");
        if begun.elapsed() > Duration::from_secs(1) && !killed {
            replicas[0].kill();
            killed = true;
        }
        if begun.elapsed() > Duration::from_secs(20) && replicas[2].state_of("silent").await == "offline" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(replicas[1].heartbeat("silent", &silent, None).await.1["state"], "online");
    assert_eq!(replicas[2].state_of("silent").await, "online");
}

#[tokio::test]
async fn what_one_replica_ends_ends_at_all() {
    let replicas = Replicas::start("ended", 2).await;
    let token = text(&replicas[0].register("acme").await["token"]);
    assert_eq!(replicas[1].heartbeat("acme", &token, None).await.1["state"], "online");
    replicas[0].expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    until("the other one knows", async || {
        replicas[1].heartbeat("acme", &token, None).await.1["state"] == "suspended"
    })
    .await;
    replicas[0].expect(200, Method::DELETE, "/v1/clusters/acme", None).await;
    until("its token has ended there, too", async || {
        replicas[1].heartbeat("acme", &token, None).await.0.as_u16() == 410
    })
    .await;
}

/// The names of source rules, and whether a shared secret is there, as gateways get them from a replica.
async fn policy_of(server: &Server) -> (Vec<String>, usize) {
    let mut gateway = server.reader("gateway", GATEWAY, "77");
    let records = gateway.sync(server).await.into_iter().flat_map(|page| page.records).collect::<Vec<_>>();
    let of = |kind: RecordKind| records.iter().filter(move |r| r.kind == kind as i32 && !r.removed);
    let rules: Value =
        of(RecordKind::SourceRules).map(|r| serde_json::from_slice(&r.value).unwrap()).next().unwrap();
    let names = rules["rules"].as_array().unwrap().iter().map(|rule| text(&rule["name"])).collect();
    (names, of(RecordKind::IssuerSecret).filter(|r| r.value == b"0123456789abcdef0123456789abcdef").count())
}

#[tokio::test]
async fn the_leaders_configuration_counts_and_another_one_is_told() {
    let mut replicas = Replicas::start("configuration", 1).await;
    let secret = replicas[0].folder.path().join("hmac");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let other = |config: &mut Value| {
        config["sourceRules"][0]["name"] = json!("everybody");
        config["issuers"].as_array_mut().unwrap().push(json!({
            "issuer": "https://hmac.example.com", "audiences": ["portcullis"], "algorithms": ["HS256"],
            "hmacKeyFile": secret,
        }));
    };
    let second = replicas[0].join(other).await;
    let (status, told) = second.readiness().await;
    let differs =
        "the leader's configuration counts; this replica has another one in: issuers, sourceRules\n";
    assert!(status == 200 && told.contains(differs), "{status} {told}");
    let (status, leads_by) = replicas[0].readiness().await;
    let named =
        leads_by.strip_prefix("ready\nthis is replica ").unwrap().strip_suffix(", which leads\n").unwrap();
    assert_eq!((status, named.len()), (200, 16));
    assert!(told.contains(&["; replica ", named, " leads\n"].concat()), "{told}");
    assert_eq!(policy_of(&second).await, (vec!["people".to_owned()], 0));
    second.until_logged("the leader has another configuration").await;
    replicas[0].kill();
    until("the second leads", async || leads(&second).await).await;
    // What it has published can be served by who does not have the secret.
    replicas[0].restart().await;
    for server in [&second, &replicas[0]] {
        until("its configuration counts", async || {
            policy_of(server).await == (vec!["everybody".to_owned()], 1)
        })
        .await;
    }
    let told = replicas[0].readiness().await.1;
    assert!(told.contains("the leader's configuration counts"), "{told}");
}
