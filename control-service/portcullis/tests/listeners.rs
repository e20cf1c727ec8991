//! What the listeners bear: slow clients, more connections than there may be, and callers without a token.

mod common;

use std::time::{Duration, Instant};

use common::{AT_ONCE, PATIENCE, Reader, Server};
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
        timeout(PATIENCE, async {
            tokio::select! { () = drip => {}, () = cut => {} }
        })
        .await
        .unwrap_or_else(|_| panic!("{listener}: not cut after {:?}", begun.elapsed()));
        assert!(begun.elapsed() > Duration::from_millis(900), "{listener}: {:?}", begun.elapsed());
    }
    // A client that says nothing at all is cut, too; whoever speaks is served.
    let mut silent = connect(&server, "operations").await;
    assert_eq!(timeout(PATIENCE, silent.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    let mut good = connect(&server, "operations").await;
    good.write_all(GET).await.unwrap();
    assert!(answer(&mut good, PATIENCE).await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_connection_without_a_request_gives_way_to_a_new_one() {
    let server = start(8, 60).await;
    let mut held = Vec::new();
    // Four that had a request, two that say nothing, and two that never end their heads.
    for n in 0..8 {
        let mut stream = connect(&server, "operations").await;
        match n {
            0..4 => {
                stream.write_all(GET).await.unwrap();
                answer(&mut stream, PATIENCE).await.unwrap();
            }
            4..6 => {}
            _ => stream.write_all(b"GET /healthz HTTP/1.1\r\nx-a: b").await.unwrap(),
        }
        held.push(stream);
    }
    for n in 0..30 {
        let mut new = connect(&server, "operations").await;
        new.write_all(GET).await.unwrap();
        let found = answer(&mut new, PATIENCE).await;
        assert!(found.as_ref().is_ok_and(|a| a.starts_with("HTTP/1.1 200 ")), "{n}: {found:?}");
        held.push(new);
    }
    // The other listeners have places of their own.
    server.expect(200, Method::GET, "/v1/clusters", None).await;
}

/// Connections that never end their heads make place for others only one after the other. Who comes behind a thousand of
/// them does not wait until that has happened for each.
#[tokio::test]
async fn the_accepting_loop_is_held_up_by_nobody() {
    let server = start(8, 60).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(connect(&server, "operations").await);
    }
    for _ in 0..600 {
        let mut slow = connect(&server, "operations").await;
        slow.write_all(b"GET /healthz HTTP/1.1\r\nx-a: b").await.unwrap();
        held.push(slow);
    }
    let begun = Instant::now();
    let mut good = connect(&server, "operations").await;
    good.write_all(GET).await.unwrap();
    assert!(answer(&mut good, PATIENCE).await.unwrap().starts_with("HTTP/1.1 200 "));
    println!("served after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

/// A poll that has nothing to wait for but its end, of a worker with a name of its own; the answer is not awaited.
async fn raw_poll(server: &Server, reader: &Reader, worker: usize) -> TcpStream {
    let mut stream = connect(server, "mesh").await;
    let hex = portcullis_protocol::audit::hex;
    let head = format!(
        "GET /mesh/v1/snapshot?view={}&generation={}&revision={}&nonce={}&wait=60&worker={worker:04x}&proxy=p{worker} HTTP/1.1\r\n\
         host: x\r\nauthorization: Bearer {}\r\nx-forwarded-client-cert: URI={}\r\n\r\n",
        reader.view,
        hex(reader.state.generation()),
        reader.state.revision(),
        hex(&[1; 16]),
        common::MESH_TOKEN,
        reader.principal,
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The status of the answer that is there within this time.
async fn status(stream: &mut TcpStream, within: Duration) -> Option<u16> {
    let mut head = [0; 12];
    timeout(within, stream.read_exact(&mut head)).await.ok()?.ok()?;
    std::str::from_utf8(&head).unwrap().split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn when_every_connection_has_a_request_a_further_one_is_refused_at_once() {
    let server = start(8, 60).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        // Bodies of callers that are known: an administrator and what it sends.
        let mut stream = connect(&server, "platform").await;
        let head = format!(
            "POST /v1/clusters HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n",
            server.admin
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The service asks for the body, so it has read the head. Before that the connection counts as idle.
        assert_eq!(status(&mut stream, PATIENCE).await, Some(100));
        held.push(stream);
    }
    let begun = Instant::now();
    let mut ninth = connect(&server, "platform").await;
    assert_eq!(status(&mut ninth, PATIENCE).await, Some(503));
    let mut rest = Vec::new();
    ninth.read_to_end(&mut rest).await.unwrap();
    assert!(String::from_utf8(rest).unwrap().contains("retry-after: "));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    held.pop();
    common::until("there is room again", async || {
        let call = server.api(Method::GET, "/v1/clusters").send().await;
        call.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}

/// A token request whose body never comes, and its status: 100 when the service waits for the body.
async fn slow_token_request(server: &Server) -> (TcpStream, Option<u16>) {
    let mut stream = connect(server, "platform").await;
    let head = b"POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let told = status(&mut stream, PATIENCE).await;
    (stream, told)
}

#[tokio::test]
async fn token_requests_whose_bodies_never_come_keep_nobody_else_out() {
    let server = Server::start_with(|config| {
        config["listeners"]["maxConnections"] = json!(40);
        config["serviceTokens"] =
            json!({"issuer": "https://portcullis.example.com", "audiences": ["portcullis"]});
    })
    .await;
    let token = common::text(&server.register("acme").await["token"]);
    // Five times as many as the listener bears: each has a place or is refused, and none is left waiting.
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..200 {
        match slow_token_request(&server).await {
            (stream, Some(100)) => held.push(stream),
            (_, told) => {
                assert_eq!(told, Some(503));
                refused += 1;
            }
        }
    }
    // Half of the listener's connections; on a slow machine the first ones are over before the last ones come.
    assert!(held.len() >= 20 && refused >= 40, "{} held, {refused} refused", held.len());
    for _ in 0..10 {
        // Until the places are all taken again.
        while let (stream, Some(100)) = slow_token_request(&server).await {
            held.push(stream);
        }
        // New connections, as of an administrator who comes just now.
        let http = reqwest::Client::builder().no_proxy().timeout(AT_ONCE).build().unwrap();
        let get = async |path: &str| {
            let call = http.get(server.url("platform", path)).bearer_auth(&server.admin);
            call.send().await.unwrap().status()
        };
        assert_eq!(get("/v1/clusters").await, 200);
        assert_eq!(get("/oauth2/jwks").await, 200);
        assert_eq!(server.heartbeat("acme", &token, None).await.0, 200);
    }
    // Who is refused is told so as RFC 6749 has it; who is too slow is cut, and then there is room again.
    let form = async || {
        let call = server.http.post(server.url("platform", "/oauth2/token"));
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        call.body("grant_type=client_credentials").send().await.unwrap()
    };
    let mut busy = form().await;
    while busy.status() != 503 {
        held.push(slow_token_request(&server).await.0);
        busy = form().await;
    }
    assert_eq!(busy.headers()["retry-after"], "2");
    assert_eq!(busy.json::<Value>().await.unwrap()["error"], "temporarily_unavailable");
    for stream in &mut held[..20] {
        // After the empty line that ends the interim answer.
        let mut rest = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
        assert!(rest.contains("HTTP/1.1 408 "), "{rest:?}");
    }
    common::until("there is room again", async || form().await.status() == 401).await;
}

#[tokio::test]
async fn a_body_of_a_caller_that_is_no_cluster_is_not_awaited() {
    let server = start(8, 60).await;
    server.register("acme").await;
    let mut stream = connect(&server, "platform").await;
    let head = b"POST /v1/clusters/acme/heartbeat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head).await.unwrap();
    assert_eq!(status(&mut stream, PATIENCE).await, Some(401));
}

#[tokio::test]
async fn one_sidecar_cannot_fill_the_mesh_listener() {
    let server = start(400, 60).await;
    server.register("acme").await;
    let mut gateway = server.reader("gateway", common::GATEWAY, "01");
    gateway.sync(&server).await;
    // One certificate, many names.
    let mut sidecar = server.reader("public:acme", common::SIDECAR, "02");
    sidecar.sync(&server).await;
    let (mut held, flood) = (Vec::new(), Instant::now());
    for worker in 0..500 {
        held.push(raw_poll(&server, &sidecar, worker).await);
    }
    // Those that have no answer after that wait for the end of their polls.
    let mut refused = vec![false; held.len()];
    common::until("all but its share are refused", async || {
        for (stream, refused) in held.iter_mut().zip(&mut refused) {
            *refused = *refused || status(stream, Duration::from_millis(20)).await == Some(503);
        }
        refused.iter().filter(|refused| **refused).count() == 500 - 64
    })
    .await;
    let begun = Instant::now();
    for _ in 0..5 {
        gateway.poll(&server, 0).await;
    }
    let proxies = server.expect(200, Method::GET, "/v1/proxies", None).await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let workers = proxies["workers"].as_array().unwrap();
    assert_eq!(workers.iter().filter(|w| w["view"] == "public:acme").count(), 64);
    assert_eq!(workers.iter().filter(|w| w["view"] == "gateway").count(), 1);
    // Once in a second.
    let told = server.log().matches("as many calls open as it may").count();
    assert!(told as u64 <= flood.elapsed().as_secs() + 1, "{told} times in {:?}", flood.elapsed());
    // What it gives back it may take again.
    held.clear();
    common::until("its places are free", async || {
        let mut again = raw_poll(&server, &sidecar, 1).await;
        status(&mut again, Duration::from_millis(200)).await != Some(503)
    })
    .await;
    sidecar.poll(&server, 0).await;
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
        server.until_polling(&["01"]).await;
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
    let line = format!("portcullis_refused_callers_total{{outcome=\"paused\"}} {limited}");
    assert!(metrics.contains(&line), "{line} not in {metrics}");
}

/// Behind a gateway all callers come from the service's own sidecar: who guesses is told apart by what the filter says.
#[tokio::test]
async fn who_comes_through_a_gateway_is_slowed_down_by_their_own_address() {
    let server = Server::start().await;
    let call = async |principal: &str, addresses: &[&str]| {
        let xfcc = ["By=spiffe://cluster.local/ns/portcullis/sa/control;Hash=ab;URI=", principal].concat();
        let call =
            server.http.get(server.url("platform", "/v1/clusters")).header("x-forwarded-client-cert", xfcc);
        let told = addresses.iter().fold(call, |call, one| call.header("x-portcullis-client-address", *one));
        told.send().await.unwrap().status().as_u16()
    };
    let (guesser, other) = ("192.0.2.7:40000", "[2001:db8::7]:40000");
    for _ in 0..5 {
        assert_eq!(call(common::GATEWAY, &[guesser]).await, 401);
    }
    assert_eq!(call(common::GATEWAY, &[guesser]).await, 429, "who guesses waits");
    assert_eq!(call(common::GATEWAY, &[other]).await, 401, "and nobody else");
    let refused: Vec<Value> =
        records(&server).await.into_iter().filter(|r| r["decision"] == "refuse").collect();
    let of = |address: &str| refused.iter().filter(|r| r["client_address"] == address).count();
    assert_eq!((of("192.0.2.7"), of("2001:db8::7"), of("127.0.0.1")), (5, 1, 0), "{refused:?}");
    // Nobody else is believed, and no second word.
    let neighbour = "spiffe://cluster.local/ns/acme-workflows/sa/notebook";
    let words: [(&str, &[&str]); 4] = [
        (neighbour, &["192.0.2.9:1"]),
        (common::GATEWAY, &["192.0.2.9:1", "192.0.2.9:1"]),
        (common::GATEWAY, &["192.0.2.9"]),
        (common::GATEWAY, &[]),
    ];
    for (principal, addresses) in words {
        assert_eq!(call(principal, addresses).await, 401);
    }
    let told = records(&server).await;
    let refused = told.iter().filter(|r| r["decision"] == "refuse");
    let of = |address: &str| refused.clone().filter(|r| r["client_address"] == address).count();
    assert_eq!((of("192.0.2.9"), of("127.0.0.1")), (0, 4), "{told:?}");
}
