//! What the listeners bear: slow clients, more connections than there may be, and callers without a token.

mod common;

use std::time::{Duration, Instant};

use common::Server;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server whose listeners bear as much as this.
async fn start(connections: u32, header_s: u32) -> Server {
    Server::start_with(|config| {
        config["listeners"]["maxConnections"] = json!(connections);
        config["listeners"]["headerSeconds"] = json!(header_s);
    })
    .await
}

async fn connect(server: &Server, listener: &str) -> TcpStream {
    TcpStream::connect(server.url(listener, "").trim_start_matches("http://")).await.unwrap()
}

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

/// Reads one answer of `/healthz`; an error when none comes in this time.
async fn answer(stream: &mut TcpStream, within: Duration) -> Result<String, String> {
    let mut seen = Vec::new();
    let read = async {
        while !seen.ends_with(b"ok\n") {
            let byte = stream.read_u8().await.map_err(|e| e.to_string())?;
            seen.push(byte);
        }
        Ok::<(), String>(())
    };
    timeout(within, read).await.map_err(|_| "nothing".to_owned())??;
    Ok(String::from_utf8(seen).unwrap())
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_cut_and_hurts_nobody() {
    let server = start(100, 1).await;
    for listener in ["mesh", "platform", "operations"] {
        let mut slow = connect(&server, listener).await;
        let begun = Instant::now();
        slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        let (mut reader, mut writer) = slow.into_split();
        let drip = async {
            // One header line after the other, for ever, until the other side has had enough.
            while writer.write_all(b"x-a: b\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let cut = async {
            let mut rest = Vec::new();
            // A reset is as good as an end.
            let _ = reader.read_to_end(&mut rest).await;
        };
        timeout(Duration::from_secs(5), async {
            tokio::select! { () = drip => {}, () = cut => {} }
        })
        .await
        .unwrap_or_else(|_| panic!("{listener}: not cut after {:?}", begun.elapsed()));
        assert!(begun.elapsed() > Duration::from_millis(900), "{listener}: {:?}", begun.elapsed());
    }
    // A client that says nothing at all is cut, too; whoever speaks is served.
    let mut silent = connect(&server, "operations").await;
    assert_eq!(timeout(Duration::from_secs(5), silent.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    let mut good = connect(&server, "operations").await;
    good.write_all(GET).await.unwrap();
    assert!(answer(&mut good, Duration::from_secs(5)).await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_connection_too_many_waits_and_hurts_none_that_is_there() {
    let server = start(8, 60).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(&server, "operations").await;
        stream.write_all(GET).await.unwrap();
        answer(&mut stream, Duration::from_secs(5)).await.unwrap();
        held.push(stream);
    }
    let mut ninth = connect(&server, "operations").await;
    ninth.write_all(GET).await.unwrap();
    assert_eq!(answer(&mut ninth, Duration::from_millis(500)).await, Err("nothing".to_owned()));
    // Those that are there go on, and so do the other listeners.
    for stream in &mut held {
        stream.write_all(GET).await.unwrap();
        answer(stream, Duration::from_secs(5)).await.unwrap();
    }
    server.expect(200, Method::GET, "/v1/clusters", None).await;
    held.pop();
    let waited = answer(&mut ninth, Duration::from_secs(5)).await.unwrap();
    assert!(waited.starts_with("HTTP/1.1 200 "), "{waited}");
}

#[tokio::test]
async fn a_waiting_poll_ends_when_the_service_does() {
    let mut server = start(8, 1).await;
    let mut reader = server.reader("gateway", common::GATEWAY, "01");
    reader.sync(&server).await;
    // It waits longer than a head may take: that time is for heads alone.
    let begun = Instant::now();
    reader.poll(&server, 3).await;
    assert!(begun.elapsed() >= Duration::from_millis(2_900), "{:?}", begun.elapsed());
    let (page, ()) = tokio::join!(reader.poll(&server, 60), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.signal("TERM");
    });
    assert!(page.records.is_empty());
    assert_eq!(server.exit_code().await, Some(0));
}

async fn records(server: &Server) -> Vec<Value> {
    let found = server.expect(200, Method::GET, "/v1/audit/records?limit=1000", None).await;
    found["records"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_caller_without_a_token_is_audited_and_slowed_down_and_nobody_else_is() {
    let server = Server::start().await;
    let call = async |token: Option<&str>| {
        let mut call = server.http.get(server.url("platform", "/v1/clusters"));
        if let Some(token) = token {
            call = call.bearer_auth(token);
        }
        call.send().await.unwrap()
    };
    let id = server.admin.split('_').nth(1).unwrap();
    let wrong = common::forge(&server.admin);
    let mut statuses = Vec::new();
    for token in [None, Some("nonsense"), Some(wrong.as_str()), Some(server.admin.as_str()), None] {
        statuses.push(call(token).await.status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 200, 401]);
    let refused: Vec<Value> =
        records(&server).await.into_iter().filter(|r| r["decision"] == "refuse").collect();
    let reasons: Vec<_> = refused.iter().map(|r| r["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["token_missing", "token_invalid", "token_invalid", "token_missing"]);
    assert!(refused.iter().all(|r| r["status"] == 401 && r["path"] == "/v1/clusters"), "{refused:?}");
    assert!(refused.iter().all(|r| r["client_address"] == "127.0.0.1"), "{refused:?}");
    assert_eq!((&refused[2]["key_id"], &refused[2]["stage"]), (&json!(id), &json!("platform-api")));
    let secret = &wrong[wrong.len() - 20..];
    assert!(!refused.iter().any(|r| r.to_string().contains(secret)), "a secret is in the audit log");
    // A flood: few of them are looked at, and the administrator is never in its way.
    let mut limited = 0;
    for _ in 0..200 {
        let answer = call(None).await;
        if answer.status() == 429 {
            assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
            limited += 1;
        }
        assert_eq!(call(Some(&server.admin)).await.status(), 200);
    }
    assert!(limited >= 190, "{limited}");
    let audited = records(&server).await.iter().filter(|r| r["decision"] == "refuse").count();
    assert!(audited <= 14, "{audited}");
    let url = server.url("operations", "/metrics");
    let metrics = server.http.get(url).send().await.unwrap().text().await.unwrap();
    let line = format!("portcullis_refused_administrators_total{{outcome=\"paused\"}} {limited}");
    assert!(metrics.contains(&line), "{line} not in {metrics}");
}
