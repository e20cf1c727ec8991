//! What signals say of a cluster, and what becomes of it.

mod common;

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use common::replicas::Replicas;
use common::{Server, text, until};

/// A cluster as the service shows it.
async fn shown(server: &Server, id: &str) -> Value {
    server.expect(200, Method::GET, &["/v1/clusters/", id].concat(), None).await
}

/// The records of changes of a cluster's state: what it became, by which signal, and who said so.
async fn changes(server: &Server, id: &str) -> Vec<(String, String)> {
    let path = ["/v1/audit/records?limit=1000&cluster=", id].concat();
    let records = server.expect(200, Method::GET, &path, None).await;
    let records = records["records"].as_array().unwrap();
    let own = records.iter().filter(|record| record["method"] == "STATE");
    own.map(|record| (text(&record["path"]), text(&record["caller"]["kind"]))).collect()
}

#[tokio::test]
async fn every_signal_is_shown_and_every_change_has_cause_author_and_time() {
    let server = Server::start_with(|config| config["clusters"] = json!({"offlineAfterSeconds": 3})).await;
    let token = text(&server.register("acme").await["token"]);
    let pending = shown(&server, "acme").await;
    assert_eq!((&pending["observed_since_ms"], &pending["observed_by"]), (&Value::Null, &Value::Null));
    let signal = |cluster: &Value, at: usize| cluster["signals"][at].clone();
    let silent = |name: &str, required: bool| json!({"signal": name, "required": required, "value": null, "age_s": null, "source": null});
    assert_eq!(signal(&pending, 0), silent("heartbeat", true));
    server.heartbeat("acme", &token, Some(json!({"status": "degraded"}))).await;
    let degraded = shown(&server, "acme").await;
    assert_eq!(signal(&degraded, 0)["value"], "degraded");
    assert!(signal(&degraded, 0)["age_s"].as_u64().unwrap() <= 3, "{degraded}");
    assert_eq!(signal(&degraded, 1), silent("tunnel", false), "nobody reports it, and it is not required");
    assert_eq!(signal(&degraded, 2), silent("probe", false));
    assert_eq!(degraded["observed_by"], "heartbeat");
    let since = degraded["observed_since_ms"].as_u64().unwrap();
    until("silence makes it offline", async || server.state_of("acme").await == "offline").await;
    let offline = shown(&server, "acme").await;
    assert!(offline["observed_since_ms"].as_u64().unwrap() > since, "{offline}");
    assert_eq!(signal(&offline, 0)["value"], "bad");
    assert!(signal(&offline, 0)["age_s"].as_u64().unwrap() >= 3, "its age is that of the last heartbeat");
    server.heartbeat("acme", &token, None).await;
    let wanted = [("degraded", "cluster"), ("offline", "service"), ("online", "cluster")];
    let wanted = wanted.map(|(state, by)| (["/clusters/acme/", state, "/heartbeat"].concat(), by.to_owned()));
    assert_eq!(changes(&server, "acme").await, wanted);
}

#[tokio::test]
async fn a_cluster_that_flaps_changes_a_bounded_number_of_times_and_is_online_in_the_end() {
    let server = Server::start_with(|config| config["clusters"] = json!({"recoverEverySeconds": 2})).await;
    let token = text(&server.register("acme").await["token"]);
    let (begun, mut last) = (Instant::now(), String::new());
    for n in 0..60 {
        let status = if n % 2 == 0 { "online" } else { "degraded" };
        last = text(&server.heartbeat("acme", &token, Some(json!({"status": status}))).await.1["state"]);
    }
    assert_eq!(last, "degraded");
    let flapped = changes(&server, "acme").await.len();
    // Online, degraded, and both again for each recovery.
    let most = 2 + 2 * (5 + usize::try_from(begun.elapsed().as_secs() / 2 + 1).unwrap());
    assert!((12..=most).contains(&flapped), "{flapped} changes of 60 heartbeats");
    until("it is online again", async || server.heartbeat("acme", &token, None).await.1["state"] == "online")
        .await;
    assert_eq!(changes(&server, "acme").await.len(), flapped + 1);
}

#[tokio::test]
async fn a_change_is_recorded_once_whichever_replica_notices_it() {
    let offline = |config: &mut Value| config["clusters"] = json!({"offlineAfterSeconds": 3});
    let replicas = Replicas::start_with("signals", 3, offline).await;
    let token = text(&replicas[0].register("acme").await["token"]);
    let (a, b, c) = tokio::join!(
        replicas[0].heartbeat("acme", &token, None),
        replicas[1].heartbeat("acme", &token, None),
        replicas[2].heartbeat("acme", &token, None),
    );
    for (_, answer) in [a, b, c] {
        assert_eq!(answer["state"], "online", "{answer}");
    }
    until("silence makes it offline", async || replicas[1].state_of("acme").await == "offline").await;
    let found = changes(&replicas[2], "acme").await;
    let wanted = [("online", "cluster"), ("offline", "service")];
    let wanted = wanted.map(|(state, by)| (["/clusters/acme/", state, "/heartbeat"].concat(), by.to_owned()));
    assert_eq!(found, wanted);
}
