//! What becomes of the service when its database can take nothing more: it refuses, says so, and goes on by itself later.

mod common;

use std::process::Command;

use common::database::postgres;
use common::outage::{is_well_again, refuses};
use common::{GATEWAY, Server};

/// Its files grow no more, as on a disk that is full; its log neither.
#[tokio::test]
async fn a_disk_that_takes_no_more_is_told_and_used_again() {
    let mut service = Server::start().await;
    let words = "sh\n-c\ntrap '' XFSZ; exec \"$0\" \"$@\"";
    std::fs::write(service.folder.path().join("within"), words).unwrap();
    service.restart().await;
    service.register("orders").await;
    assert!(service.ready().await.0);
    let mut gateway = service.reader("gateway", GATEWAY, "01");
    gateway.sync(&service).await;
    let revision = gateway.state.revision();
    let limit = |most: &str| {
        let (id, most) = (service.id().to_string(), ["--fsize=", most, ":"].concat());
        assert!(Command::new("prlimit").args(["--pid", &id, &most]).status().unwrap().success());
    };
    limit("0");
    for _ in 0..3 {
        refuses(&service).await;
    }
    gateway.poll(&service, 0).await;
    assert_eq!(gateway.state.revision(), revision, "filters go on by what is so");
    limit("unlimited");
    std::fs::remove_file(service.folder.path().join("within")).unwrap();
    is_well_again(&service).await;
    gateway.poll(&service, 0).await;
    assert!(gateway.state.revision() > revision);
}

#[tokio::test]
async fn a_server_that_can_only_be_read_is_told_and_used_again() {
    let (server, url) = postgres("service-reads").await;
    let service = Server::start_on(&url).await;
    service.register("orders").await;
    let read_only = async |whether: &str| {
        let sql = format!(
            "ALTER DATABASE portcullis SET default_transaction_read_only = {whether};
             SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'portcullis'"
        );
        server.run("postgres", &sql).await.unwrap();
    };
    read_only("on").await;
    refuses(&service).await;
    service.until_logged("can only be read").await;
    read_only("off").await;
    is_well_again(&service).await;
}
