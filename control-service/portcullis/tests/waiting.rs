//! A service that starts while its database is away, or while it is being opened.

mod common;

use std::net::TcpListener;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use common::database::postgres;
use common::{GATEWAY, Server, run_in, until};

/// Listeners at ports of their own, so that it is known where a service listens before it serves.
fn at_known_ports(config: &mut Value) {
    let free =
        ["mesh", "platform", "operations"].map(|name| (name, TcpListener::bind("127.0.0.1:0").unwrap()));
    for (name, listener) in &free {
        config["listeners"][name] = json!(listener.local_addr().unwrap());
    }
}

/// Whether it says that it lives.
async fn lives(service: &Server) -> bool {
    match service.http.get(service.url("operations", "/healthz")).send().await {
        Ok(answer) => answer.status().is_success(),
        // Nobody listens there yet.
        Err(_) => false,
    }
}

/// Waits until it says that it waits, and why.
async fn waits(service: &Server, why: &str) {
    until("it lives", async || lives(service).await).await;
    until(why, async || {
        let (ready, told) = service.ready().await;
        assert!(!ready, "{told}");
        told.contains("waiting for the database since 20") && told.contains(why)
    })
    .await;
}

async fn serves(service: &mut Server) {
    service.until_serving().await;
    until("it is ready", async || service.ready().await.0).await;
    assert_eq!(service.state_of("orders").await, "pending", "nothing is lost");
    service.until_logged("the database is there").await;
}

#[tokio::test]
async fn a_replica_that_starts_while_the_database_is_away_waits_and_serves_when_it_comes() {
    let (mut database, url) = postgres("waiting-away").await;
    let mut service = Server::start_on_with(&url, at_known_ports).await;
    service.register("orders").await;
    service.kill();
    database.kill().await.unwrap();
    service.begin();
    waits(&service, "the database server cannot be reached").await;
    let told = service.expect(503, Method::GET, "/v1/clusters", None).await;
    assert_eq!(told["reason"], "store_unavailable", "{told}");
    let mut gateway = service.reader("gateway", GATEWAY, "01");
    let answer = gateway.ask(&service, 0).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "2"));
    assert_eq!(service.metric("portcullis_store_up").await, 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(service.log().matches("waiting for the database: ").count(), 1, "{}", service.log());
    database.restart().await.unwrap();
    serves(&mut service).await;
    gateway.sync(&service).await;
    assert_eq!(service.metric("portcullis_store_up").await, 1);
    drop(service);
}

#[tokio::test]
async fn a_service_that_waits_can_be_stopped() {
    let (mut database, url) = postgres("waiting-stopped").await;
    let mut service = Server::start_on_with(&url, at_known_ports).await;
    service.kill();
    database.kill().await.unwrap();
    service.begin();
    waits(&service, "cannot be reached").await;
    service.signal("TERM");
    assert_eq!(service.exit_code().await, Some(0));
    // One that hangs holds nobody up either.
    database.restart().await.unwrap();
    database.pause().unwrap();
    service.begin();
    until("it lives", async || lives(&service).await).await;
    let (ready, told) = service.ready().await;
    assert!(!ready && told.contains("is being opened since 20"), "{told}");
    service.signal("TERM");
    assert_eq!(service.exit_code().await, Some(0));
    database.unpause().unwrap();
}

/// A server that takes nobody in at present, or can only be read, may do otherwise in a moment.
#[tokio::test]
async fn what_passes_by_itself_is_waited_for() {
    let (server, url) = postgres("waiting-passes").await;
    server
        .run(
            "portcullis",
            "CREATE ROLE app LOGIN; ALTER DATABASE portcullis OWNER TO app; ALTER SCHEMA public OWNER TO app",
        )
        .await
        .unwrap();
    let url = url.replace("postgres@", "app@");
    let mut service = Server::start_on_with(&url, at_known_ports).await;
    service.register("orders").await;
    for (begins, ends, why) in [
        ("ALTER ROLE app CONNECTION LIMIT 1", "ALTER ROLE app CONNECTION LIMIT -1", "has no connection left"),
        (
            "ALTER DATABASE portcullis SET default_transaction_read_only = on",
            "ALTER DATABASE portcullis RESET default_transaction_read_only",
            "can only be read",
        ),
    ] {
        service.kill();
        server.run("postgres", begins).await.unwrap();
        service.begin();
        waits(&service, why).await;
        server.run("postgres", ends).await.unwrap();
        serves(&mut service).await;
    }
    drop(service);
}

#[tokio::test]
async fn what_somebody_has_to_change_ends_a_service_at_once() {
    let (server, url) = postgres("waiting-wrong").await;
    let mut service = Server::start_on_with(&url, at_known_ports).await;
    service.kill();
    let refused = |url: &str| {
        std::fs::write(service.folder.path().join("database-url"), url).unwrap();
        let config = service.config();
        let output = run_in(service.folder.path(), &["serve", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    for (from, to, wanted) in
        [("postgres@", "nobody@", "CREATE ROLE"), ("/portcullis", "/elsewhere", "CREATE DATABASE")]
    {
        let told = refused(&url.replace(from, to));
        assert!(told.contains(wanted) && !told.contains("waiting for"), "{told}");
    }
    server.run("portcullis", "UPDATE schema_version SET version = version + 1").await.unwrap();
    let told = refused(&url);
    assert!(told.contains("run the newer program") && !told.contains("waiting for"), "{told}");
}
