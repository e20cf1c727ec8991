//! Replicas that are there and cannot do their part: one that its database does not hear, one that was stopped.

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::replicas::{Replicas, leads};
use common::wire::Wire;
use common::{GATEWAY, LONG_POLL, Reader, SLACK, Server, text, until};
use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// How long a replica is stopped.
const STOPPED: Duration = Duration::from_secs(if cfg!(feature = "slow") { 60 } else { 8 });

/// Another one leads in time.
async fn leads_in_time(servers: &[&Server]) {
    let begun = Instant::now();
    until("another one leads", async || {
        for server in servers {
            if leads(server).await {
                return true;
            }
        }
        false
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5) + SLACK, "{:?}", begun.elapsed());
}

/// An answer to a poll has everything up to a revision, or is none.
async fn is_fresh_or_refused(gateway: &mut Reader, answer: Response, revision: u64) {
    if answer.status() == 200 {
        let bytes = answer.bytes().await.unwrap();
        gateway.take(&bytes);
        assert!(gateway.state.revision() >= revision, "a page of before is given out as what is so");
    } else {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "replica_behind");
    }
}

async fn suspend(server: &Server, id: &str) -> u64 {
    let path = ["/v1/clusters/", id, "/suspend"].concat();
    server.expect(200, Method::POST, &path, None).await["revision"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_leads_no_more_says_so_and_answers_nothing_as_fresh() {
    let folder = paths::target().join("postgres/cut-off-replica");
    let database = Postgres::start(&folder).await.unwrap();
    let url = database.database("portcullis").await.unwrap();
    let wire = Wire::to(&folder);
    let first = Server::start_on(&wire.url("portcullis")).await;
    let second = first.join_at(&url, |_| {}).await;
    assert!(leads(&first).await && !leads(&second).await);
    let token = text(&first.register("acme").await["token"]);
    assert_eq!(first.heartbeat("acme", &token, None).await.0, 200);
    let mut gateway = first.reader("gateway", GATEWAY, "01");
    gateway.sync(&first).await;
    let waiting = tokio::spawn(gateway.request(&first, LONG_POLL).send());
    first.until_polling(&["01"]).await;
    wire.cut();
    leads_in_time(&[&second]).await;
    until("it does not take itself for the leader", async || !leads(&first).await).await;
    let revision = suspend(&second, "acme").await;
    is_fresh_or_refused(&mut gateway, waiting.await.unwrap().unwrap(), revision).await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&first, 0).await.status(), 503);
        let (status, answer) = first.heartbeat("acme", &token, None).await;
        assert_eq!((status.as_u16(), &answer["reason"]), (503, &json!("replica_behind")));
    }
    let (ready, told) = first.ready().await;
    assert!(!ready && told.contains("database"), "{told}");
    wire.mend();
    until("it is ready again", async || first.ready().await.0).await;
    gateway.sync(&first).await;
    assert!(gateway.state.revision() >= revision);
    assert_eq!(first.heartbeat("acme", &token, None).await.1["state"], "suspended");
    assert!(leads(&second).await && !leads(&first).await);
}

/// What it knows when it goes on is of before, and the leader of now is another one.
#[tokio::test]
async fn a_leader_that_was_stopped_gives_out_nothing_of_before_and_blames_nobody() {
    let edit = |config: &mut Value| config["clusters"] = json!({"offlineAfterSeconds": 3});
    let replicas = Replicas::start_with("stopped", 3, edit).await;
    assert!(leads(&replicas[0]).await);
    let token = text(&replicas[0].register("alive").await["token"]);
    replicas[0].register("closed").await;
    assert_eq!(replicas[0].heartbeat("alive", &token, None).await.1["state"], "online");
    let mut gateway = replicas[0].reader("gateway", GATEWAY, "01");
    gateway.sync(&replicas[0]).await;
    let waiting = tokio::spawn(gateway.request(&replicas[0], LONG_POLL).send());
    replicas[0].until_polling(&["01"]).await;
    replicas[0].signal("STOP");
    let begun = Instant::now();
    leads_in_time(&[&replicas[1], &replicas[2]]).await;
    let revision = suspend(&replicas[1], "closed").await;
    let mut beats = tokio::time::interval(Duration::from_millis(500));
    while begun.elapsed() < STOPPED {
        beats.tick().await;
        assert_eq!(replicas[1].heartbeat("alive", &token, None).await.1["state"], "online");
    }
    replicas[0].signal("CONT");
    is_fresh_or_refused(&mut gateway, waiting.await.unwrap().unwrap(), revision).await;
    until("it is ready again", async || {
        let answer = gateway.ask(&replicas[0], 0).await;
        is_fresh_or_refused(&mut gateway, answer, revision).await;
        replicas[0].ready().await.0
    })
    .await;
    assert!(!leads(&replicas[0]).await);
    assert_eq!(replicas[0].heartbeat("alive", &token, None).await.1["state"], "online");
    assert!(!replicas[0].log().contains("state=\"offline\""), "{}", replicas[0].log());
}

/// How often a log says each of the things that are worse than usual, whatever it says to be the cause.
fn complaints(log: &str) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for line in log.lines() {
        let told = ["ERROR", "WARN"].iter().find_map(|level| Some(line.split_once(level)?.1));
        let words = told.map(|told| told.split(" error=").next().unwrap_or_default());
        words.into_iter().for_each(|words| *counts.entry(words).or_default() += 1);
    }
    counts
}

/// What is tried again and again would fill the log.
#[tokio::test]
async fn an_outage_of_the_database_is_told_and_not_told_on_and_on() {
    let mut replicas = Replicas::start("told-once", 2).await;
    replicas[1].register("acme").await;
    replicas.database.kill().await.unwrap();
    for server in replicas.iter() {
        until("it is told", async || server.ready().await.1.contains("the database cannot be used")).await;
    }
    // What is told with each try, or once a second, is told far more often than three times.
    for _ in 0..30 {
        let refused = replicas[1].api(Method::POST, "/v1/clusters/acme/suspend").send().await.unwrap();
        assert_eq!(refused.status(), 503);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for server in replicas.iter() {
        let log = server.log();
        let told = complaints(&log);
        assert!(!told.is_empty() && told.values().all(|count| *count <= 3), "{told:#?}");
    }
    replicas.database.restart().await.unwrap();
    for server in replicas.iter() {
        server.until_logged("this replica follows the database again").await;
        server.until_logged("the signing keys are kept up to date again").await;
        until("it is ready again", async || server.ready().await.0).await;
        let log = server.log();
        assert!(!log.lines().any(|line| line.contains("INFO") && line.contains("error=")), "{log}");
    }
}
