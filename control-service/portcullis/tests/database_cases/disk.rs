//! A disk that is full, and one that cannot be written to: a file system of a few megabytes in a namespace of the service's
//! own, which needs no root.

use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::json;

use crate::common::{Server, run_in, stdout, until};

/// Has a service's data folder be a file system of its own from the next start on, with what is in it.
fn on_a_small_disk(folder: &Path, options: &str) {
    let script = format!(
        "set -e; cp -a {data} {data}.kept; mount -t tmpfs -o size=4m,mode=700 tmpfs {data}; cp -a {data}.kept/. {data}; \
         rm -r {data}.kept; {options} exec \"$0\" \"$@\"",
        data = folder.join("data").display()
    );
    let words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script];
    std::fs::write(folder.join("within"), words.join("\n")).unwrap();
}

/// A path as the service sees it.
fn seen(service: &Server, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", service.id(), path.display()))
}

#[tokio::test]
async fn a_full_disk_is_told_and_used_again_when_there_is_room() {
    let mut service = Server::start().await;
    let folder = service.folder.path().to_owned();
    service.register("orders").await;
    service.signal("TERM");
    assert_eq!(service.exit_code().await, Some(0));
    on_a_small_disk(&folder, "");
    service.restart().await;
    let filler = seen(&service, &folder.join("data/filler"));
    let mut written = 0;
    while std::fs::write(&filler, vec![1; written]).is_ok() {
        written += 64 * 1024;
        assert!(written < 64 << 20, "the file system has a bound");
    }
    let mut refused = 0;
    until("the disk is full", async || {
        refused += 1;
        let body = json!({"id": format!("c{refused}"), "tenant": "acme", "placement": "on_premises"});
        let answer = service.api(Method::POST, "/v1/clusters").json(&body).send().await.unwrap();
        let (status, told) = (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap());
        assert!(status == 201 || (status, &told["reason"]) == (503, &json!("store_unavailable")), "{told}");
        status == 503
    })
    .await;
    service.until_logged("full").await;
    assert!(!service.ready().await.0);
    assert_eq!(service.metric("portcullis_store_up").await, 0);
    assert_eq!(service.state_of("orders").await, "pending", "what is there can be read");
    std::fs::remove_file(&filler).unwrap();
    until("the service is ready again", async || service.ready().await.0).await;
    service.register(&format!("c{refused}")).await;
    let nsenter = ["--user", "--preserve-credentials", "--mount", "--target", &service.id().to_string()]
        .map(str::to_owned);
    let checked = Command::new("nsenter")
        .args(nsenter)
        .args([env!("CARGO_BIN_EXE_portcullis"), "store", "check", "--config"])
        .arg(service.config())
        .output()
        .unwrap();
    assert!(stdout(&checked).contains("everything fits together"));
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_to_is_refused_at_the_start() {
    let mut service = Server::start().await;
    let folder = service.folder.path().to_owned();
    service.signal("TERM");
    assert_eq!(service.exit_code().await, Some(0));
    on_a_small_disk(&folder, &format!("mount -o remount,ro {};", folder.join("data").display()));
    let config = service.config();
    let output = run_in(&folder, &["serve", "--config", config.to_str().unwrap()]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("store.dataDir") && told.contains("Read-only file system"), "{told}");
}
