//! The whole service on a real PostgreSQL.

mod common;

use reqwest::Method;
use serde_json::json;

use common::database::postgres;
use common::{GATEWAY, Server, portcullis, run_in, stdout, until};

#[tokio::test]
async fn the_service_does_on_a_server_what_it_does_on_a_file() {
    let (_server, url) = postgres("service-whole").await;
    let mut service = Server::start_on(&url).await;
    let token = common::text(&service.register("orders").await["token"]);
    assert_eq!(service.heartbeat("orders", &token, None).await.0, 200);
    service.create_key("job").await;
    let mut gateway = service.reader("gateway", GATEWAY, "01");
    let generation = gateway.poll(&service, 0).await.generation;
    assert_eq!(service.state_of("orders").await, "online");
    service.restart().await;
    let mut gateway = service.reader("gateway", GATEWAY, "01");
    assert_eq!(gateway.poll(&service, 0).await.generation, generation, "the store's life goes on");
    let log = service.log();
    assert!(
        log.contains("postgresql") && !service.folder.path().join("data/portcullis.db").exists(),
        "{log}"
    );
    let config = service.config();
    let key = stdout(&run_in(service.folder.path(), &["snapshot-key", "--config", config.to_str().unwrap()]));
    assert!(!key.is_empty(), "a command reads beside the service");
}

#[tokio::test]
async fn a_server_that_is_away_is_told_and_used_again() {
    let (mut database, url) = postgres("service-away").await;
    let service = Server::start_on(&url).await;
    service.register("a").await;
    database.kill().await.unwrap();
    let body = json!({"id": "b", "tenant": "acme", "placement": "on_premises"});
    let answer = service.api(Method::POST, "/v1/clusters").json(&body).send().await.unwrap();
    let (status, told) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert_eq!(status, 503, "{told}");
    until("it says that it is not ready", async || !service.ready().await.0).await;
    until("the metric says so", async || service.metric("portcullis_store_up").await == 0).await;
    database.restart().await.unwrap();
    until("the service is back", async || {
        let answer = service.api(Method::POST, "/v1/clusters").json(&body).send().await.unwrap();
        answer.status().as_u16() == 201
    })
    .await;
    assert_eq!(service.state_of("a").await, "pending", "nothing acknowledged is lost");
    until("it is ready again", async || service.ready().await.0).await;
    assert_eq!(service.metric("portcullis_store_up").await, 1);
}

#[test]
fn a_url_that_cannot_be_used_is_told_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), common::MESH_TOKEN).unwrap();
    common::write_config(folder.path(), &common::configuration());
    let config = folder.path().join("control.yaml");
    for (url, told) in [
        ("mysql://u:hunter2@db.example/portcullis", "postgresql://USER:PASSWORD@HOST/DATABASE"),
        ("postgresql://u:hunter2@db.example/portcullis?sslmode=prefer", "sslmode=verify-full"),
        ("postgresql://u:hunter2@127.0.0.1:1/portcullis?sslmode=disable", "check that it runs"),
    ] {
        let mut command = portcullis();
        command.env("DATABASE_URL", url).args(["bootstrap-admin", "--config"]).arg(&config);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(told) && !text.contains("hunter2"), "{text}");
    }
}
