//! The wall clock jumps by an hour, forward and back, by libfaketime; the monotonic clock goes on, as it does when a machine's
//! clock is set.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::json;

use crate::common::{self, GATEWAY, Server};

const HOUR_MS: u64 = 3_600_000;

/// The library that shows a process another time.
fn library() -> PathBuf {
    let of = |folder: &Path| folder.join("faketime/libfaketimeMT.so.1");
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let found = folders.chain(["/usr/lib64".into()]).map(|folder| of(&folder)).find(|file| file.is_file());
    found.expect(
        "libfaketime is missing, by which the clock is set: install it (Debian: `apt install faketime`)",
    )
}

/// Sets the clock of a service to so many hours from now.
fn set(folder: &Path, hours: i32) {
    let file = folder.join("clock");
    std::fs::write(folder.join("clock.new"), format!("{hours:+}h\n")).unwrap();
    std::fs::rename(folder.join("clock.new"), file).unwrap();
}

/// By how much a service's clock is ahead, in hours.
async fn ahead(service: &Server, id: &str) -> i64 {
    let made = service.register(id).await["cluster"]["created_at_ms"].as_u64().unwrap();
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let minutes = (i128::from(made) - i128::from(now)) / 60_000;
    i64::try_from((minutes + 30).div_euclid(60)).unwrap()
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_opens_nothing_and_closes_nothing() {
    let mut service = Server::start().await;
    let folder = service.folder.path().to_owned();
    set(&folder, 0);
    let words = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library().display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", folder.join("clock").display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    std::fs::write(folder.join("within"), words.join("\n")).unwrap();
    service.restart().await;
    let token = common::text(&service.register("orders").await["token"]);
    assert_eq!(service.heartbeat("orders", &token, None).await.0, 200);
    let soon = json!({"name": "jti:stolen", "expires_in_s": 1800});
    service.expect(201, Method::POST, "/v1/revocations", Some(soon)).await;
    let mut gateway = service.reader("gateway", GATEWAY, "01");
    gateway.sync(&service).await;
    let keys = service.expect(200, Method::GET, "/v1/signing-keys", None).await;
    for (hours, name) in [(0, "now"), (1, "ahead"), (-1, "behind"), (0, "back")] {
        set(&folder, hours);
        assert_eq!(ahead(&service, name).await, i64::from(hours), "the clock is as it was set");
        // Longer than the service takes to tidy up, and to look for what fell silent.
        tokio::time::sleep(std::time::Duration::from_secs(8)).await;
        assert!(service.ready().await.0, "{hours}");
        assert_eq!(service.state_of("orders").await, "online", "{hours}");
        assert_eq!(service.heartbeat("orders", &token, None).await.0, 200);
        let listed = service.expect(200, Method::GET, "/v1/revocations", None).await;
        assert_eq!(listed["revocations"][0]["name"], "jti:stolen", "{hours}: {listed}");
        let page = gateway.poll(&service, 0).await;
        assert!(!page.reset && page.records.iter().any(|record| record.key == name.as_bytes()), "{page:?}");
        assert!(!page.records.iter().any(|record| record.removed), "{hours}: {page:?}");
        assert_eq!(service.expect(200, Method::GET, "/v1/signing-keys", None).await, keys, "{hours}");
        let status = service.expect(200, Method::GET, "/v1/audit/status", None).await;
        assert_eq!((&status["missing"], &status["rejected"]), (&json!(0), &json!(0)), "{hours}: {status}");
    }
    // What has an end is over by the clock as it is, and is told so.
    let body = json!({"expires_in_s": HOUR_MS / 2000});
    let made = service.expect(201, Method::POST, "/v1/administrators", Some(body)).await;
    let token = made["token"].as_str().unwrap();
    let list = async || {
        let call = service.http.get(service.url("platform", "/v1/clusters")).bearer_auth(token);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap()["reason"].clone())
    };
    assert_eq!(list().await.0, 200);
    set(&folder, 1);
    assert_eq!(list().await, (401, json!("token_invalid")));
    set(&folder, 0);
    assert_eq!(list().await.0, 200);
}
