//! Several replicas of the service, as processes, on one real PostgreSQL.

mod common;

use reqwest::Method;
use serde_json::json;

use common::replicas::Replicas;
use common::{GATEWAY, Server, text, until};

async fn is_ready(server: &Server) -> (u16, String) {
    let answer = server.http.get(server.url("operations", "/readyz")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

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
        assert_eq!(is_ready(server).await, (200, "ready\n".to_owned()));
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
    until("it says why it is not ready", async || is_ready(server).await.1.contains("could not confirm"))
        .await;
    assert_eq!(is_ready(server).await.0, 503);
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
    until("it is ready again", async || is_ready(server).await.0 == 200).await;
    gateway.sync(server).await;
    assert_eq!(server.heartbeat("acme", &token, None).await.0, 200);
}
