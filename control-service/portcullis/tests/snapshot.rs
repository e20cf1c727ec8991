//! The snapshot protocol, read over HTTP with the filters' own code.

mod common;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use common::{AT_ONCE, GATEWAY, LONG_POLL, MESH_TOKEN, Reader, SIDECAR, Server, text};
use portcullis_identity::ids::ClusterId;
use portcullis_model::decision::ClusterState;
use portcullis_protocol::audit::keyed_hash;
use portcullis_protocol::wire::RecordKind;
use prost::Message;
use reqwest::Method;
use serde_json::json;

fn id(text: &str) -> ClusterId {
    ClusterId::new(text).unwrap()
}

fn digest(pepper: &[u8; 32], created: &serde_json::Value) -> [u8; 32] {
    keyed_hash(pepper, text(&created["key"]).as_bytes())
}

async fn register_many(server: &Server, count: usize) {
    for begin in (0..count).step_by(250) {
        let batch = (begin..(begin + 250).min(count)).map(|n| {
            let id = ["c", &n.to_string()].concat();
            let body = json!({"id": id, "tenant": "acme", "placement": "on_premises"});
            tokio::spawn(server.api(Method::POST, "/v1/clusters").json(&body).send())
        });
        for task in batch.collect::<Vec<_>>() {
            assert_eq!(task.await.unwrap().unwrap().status(), 201);
        }
    }
}

#[tokio::test]
async fn five_thousand_clusters_arrive_in_small_pages_and_a_change_as_one_record() {
    let server = Server::start().await;
    register_many(&server, 5000).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    let pages = reader.sync(&server).await;
    assert_eq!(reader.state.cluster_count(), 5000);
    assert!(pages.len() > 3, "{} pages", pages.len());
    assert!(pages[0].reset && pages[1..].iter().all(|p| !p.reset));
    for page in &pages {
        assert!(page.encoded_len() <= 24 * 1024 + 256, "{} bytes", page.encoded_len());
    }
    assert_eq!(reader.state.issuers().count(), 1);
    assert_eq!(reader.state.source_rules().rules.len(), 1);
    assert!(reader.state.signer().is_some() && reader.state.pepper().is_some());

    let poll = reader.poll(&server, LONG_POLL);
    let change = async {
        server.until_polling(&["01"]).await;
        server.expect(200, Method::POST, "/v1/clusters/c4321/suspend", None).await
    };
    let begun = Instant::now();
    let (page, _) = tokio::join!(poll, change);
    assert!(begun.elapsed() < AT_ONCE, "the waiting poll was not woken");
    assert_eq!(page.records.len(), 1);
    assert_eq!(reader.state.cluster(&id("c4321")).unwrap().state, ClusterState::Suspended);
}

#[tokio::test]
async fn what_is_removed_during_a_resync_is_gone_after_it() {
    let server = Server::start().await;
    let mut created = Vec::new();
    for n in 0..400 {
        created.push(server.create_key(&["s", &n.to_string()].concat()).await);
    }
    let mut whole = server.reader("gateway", GATEWAY, "02");
    whole.sync(&server).await;
    let pepper = *whole.state.pepper().unwrap();
    created.sort_by_key(|c| digest(&pepper, c));

    let mut reader = server.reader("gateway", GATEWAY, "01");
    let first = reader.poll(&server, 0).await;
    assert!(first.reset && !first.cursor.is_empty() && first.more);
    // One was on the first page, the other would come later.
    let (sent, unsent) = (&created[0], &created[399]);
    assert!(reader.state.api_key(&digest(&pepper, sent)).is_some());
    assert!(reader.state.api_key(&digest(&pepper, unsent)).is_none());
    for key in [sent, unsent] {
        let path = ["/v1/api-keys/", &text(&key["api_key"]["id"])].concat();
        server.expect(200, Method::DELETE, &path, None).await;
    }
    let late = server.create_key("late").await;
    reader.sync(&server).await;
    for key in [sent, unsent] {
        assert!(reader.state.api_key(&digest(&pepper, key)).is_none());
    }
    for key in created[1..399].iter().chain([&late]) {
        assert!(reader.state.api_key(&digest(&pepper, key)).is_some());
    }
}

#[tokio::test]
async fn a_restart_neither_loses_a_change_nor_starts_the_reader_anew() {
    let mut server = Server::start().await;
    server.register("acme").await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let before = reader.state.revision();
    server.expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    server.kill();
    server.restart().await;
    let page = reader.poll(&server, 0).await;
    assert!(!page.reset, "the generation and the revisions must survive a kill");
    assert_eq!(page.records.len(), 1);
    assert!(page.revision > before);
    assert_eq!(reader.state.cluster(&id("acme")).unwrap().state, ClusterState::Suspended);
    // Nothing was published by the restart itself.
    assert!(reader.poll(&server, 0).await.records.is_empty());
}

#[tokio::test]
async fn a_reader_of_another_life_or_from_the_future_gets_everything_anew() {
    let server = Server::start().await;
    let other = Server::start().await;
    other.register("elsewhere").await;
    server.register("acme").await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    // As after a restore: what the other service says replaces everything.
    let mut moved = other.reader("gateway", GATEWAY, "01");
    std::mem::swap(&mut moved.state, &mut reader.state);
    assert!(moved.sync(&other).await[0].reset);
    assert!(moved.state.cluster(&id("acme")).is_none() && moved.state.cluster(&id("elsewhere")).is_some());

    let answer = server
        .mesh(Method::GET, "/mesh/v1/snapshot", GATEWAY)
        .query(&[("view", "gateway"), ("revision", "999999"), ("nonce", &"0".repeat(32)), ("worker", "01")])
        .send()
        .await
        .unwrap();
    let signed = portcullis_protocol::wire::SignedMessage::decode(answer.bytes().await.unwrap()).unwrap();
    assert!(portcullis_protocol::wire::Page::decode(signed.message.as_slice()).unwrap().reset);
}

/// Sidecars are told no issuers: whoever is revoked by one name of theirs is revoked there by all.
#[tokio::test]
async fn a_sidecar_knows_who_is_revoked_by_every_name_of_their_issuer() {
    let server = Server::start_with(|config| {
        config["issuers"][0]["aliases"] = json!(["https://old.example"]);
    })
    .await;
    let issuer = text(&common::configuration()["issuers"][0]["issuer"]);
    server.register("acme").await;
    let mut sidecar = server.reader("public:acme", SIDECAR, "02");
    let user = |issuer: &str| format!("user:acme {issuer} ann");
    let (own, old, other) = (user(&issuer), user("https://old.example"), user("https://other.example"));
    for name in [&old, &other] {
        server.expect(201, Method::POST, "/v1/revocations", Some(json!({"name": name}))).await;
    }
    sidecar.sync(&server).await;
    assert!([&own, &old, &other].iter().all(|name| sidecar.state.is_revoked(name)));
    // Revoked by both names: it stays so until neither is left.
    server.expect(201, Method::POST, "/v1/revocations", Some(json!({"name": own}))).await;
    for (name, stays) in [(&old, true), (&own, false)] {
        let path = ["/v1/revocations?name=", &name.replace(' ', "%20")].concat();
        server.expect(200, Method::DELETE, &path, None).await;
        sidecar.sync(&server).await;
        assert_eq!(
            (sidecar.state.is_revoked(&own), sidecar.state.is_revoked(&old)),
            (stays, stays),
            "{name}"
        );
    }
    assert!(sidecar.state.is_revoked(&other));
    // A name that the issuer gets later counts from then on.
    let mut config = common::configuration();
    config["issuers"][0]["aliases"] = json!(["https://other.example"]);
    common::write_config(server.folder.path(), &config);
    server.signal("HUP");
    while !sidecar.state.is_revoked(&own) {
        sidecar.poll(&server, LONG_POLL).await;
    }
}

#[tokio::test]
async fn a_sidecar_gets_its_own_cluster_and_no_secret() {
    let server = Server::start().await;
    server.register("acme").await;
    server.register("globex").await;
    let created = server.create_key("batch").await;
    let revocation = json!({"name": "sub:mallory"});
    server.expect(201, Method::POST, "/v1/revocations", Some(revocation)).await;
    let mut gateway = server.reader("gateway", GATEWAY, "01");
    gateway.sync(&server).await;
    assert!(gateway.state.api_key(&digest(gateway.state.pepper().unwrap(), &created)).is_some());
    assert!(gateway.state.is_revoked("sub:mallory"));

    let mut sidecar = server.reader("public:acme", SIDECAR, "02");
    let pages = sidecar.sync(&server).await;
    let kinds: Vec<_> = pages.iter().flat_map(|p| &p.records).map(|r| r.kind).collect();
    let expected = [
        RecordKind::SourceRules,
        RecordKind::Workloads,
        RecordKind::Cluster,
        RecordKind::RevocationDigest,
        RecordKind::IdentityKey,
    ]
    .map(|k| k as i32);
    assert_eq!(kinds, expected);
    assert!(sidecar.state.is_revoked("sub:mallory") && !sidecar.state.is_revoked("sub:ann"));
    assert!(sidecar.state.cluster(&id("acme")).is_some() && sidecar.state.cluster(&id("globex")).is_none());
    let signer = gateway.state.signer().unwrap();
    assert_eq!(
        sidecar.state.identity_key(signer.key_id.as_str()),
        Some(&portcullis_protocol::snapshot::public_key(signer.seed))
    );
}

#[tokio::test]
async fn a_sidecar_wakes_for_its_own_cluster_only() {
    let server = Server::start().await;
    server.register("acme").await;
    server.register("globex").await;
    let mut sidecar = server.reader("public:acme", SIDECAR, "02");
    sidecar.sync(&server).await;
    let others = async {
        server.until_polling(&["02"]).await;
        server.expect(200, Method::POST, "/v1/clusters/globex/suspend", None).await;
    };
    let begun = Instant::now();
    let (page, ()) = tokio::join!(sidecar.poll(&server, 1), others);
    assert!(page.records.is_empty() && begun.elapsed() >= Duration::from_millis(990));
    let own = async {
        server.until_polling(&["02"]).await;
        server.expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    };
    let begun = Instant::now();
    let (page, ()) = tokio::join!(sidecar.poll(&server, LONG_POLL), own);
    assert_eq!(page.records.len(), 1);
    assert!(begun.elapsed() < AT_ONCE);
}

#[tokio::test]
async fn who_may_not_read_is_refused_with_the_reason() {
    let server = Server::start().await;
    let query = |view: &str| ["/mesh/v1/snapshot?worker=01&nonce=", &"0".repeat(32), "&view=", view].concat();
    let own = |view: &str, principal: &str| server.mesh(Method::GET, &query(view), principal);
    let bare = |view: &str| server.http.get(server.url("mesh", &query(view)));
    let xfcc = ["URI=", GATEWAY].concat();
    let foreign = "spiffe://cluster.local/ns/evil/sa/evil";
    let behind = [&xfcc, ",URI=", foreign].concat();
    let cases = [
        (bare("gateway").header("x-forwarded-client-cert", &xfcc), 401, "mesh_token_invalid"),
        (
            bare("gateway").header("x-forwarded-client-cert", &xfcc).bearer_auth("another-token-0123456789"),
            401,
            "mesh_token_invalid",
        ),
        (bare("gateway").bearer_auth(MESH_TOKEN), 403, "principal_missing"),
        (own("gateway", GATEWAY).header("x-forwarded-client-cert", &xfcc), 403, "principal_missing"),
        (own("gateway", &[GATEWAY, ";URI=", GATEWAY].concat()), 403, "principal_missing"),
        (own("gateway", foreign), 403, "principal_unknown"),
        (
            bare("gateway").bearer_auth(MESH_TOKEN).header("x-forwarded-client-cert", &behind),
            403,
            "principal_unknown",
        ),
        (own("gateway", SIDECAR), 403, "view_forbidden"),
        (own("public:globex", SIDECAR), 403, "view_forbidden"),
        (own("public:acme", GATEWAY), 403, "view_forbidden"),
        (own("everything", GATEWAY), 400, "poll_invalid"),
        (own("gateway&wait=61", GATEWAY), 400, "poll_invalid"),
        (own("gateway&cursor=zz", GATEWAY), 400, "poll_invalid"),
        (
            server.mesh(Method::GET, "/mesh/v1/snapshot?view=gateway&worker=01&nonce=00", GATEWAY),
            400,
            "poll_invalid",
        ),
    ];
    for (at, (call, status, reason)) in cases.into_iter().enumerate() {
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), status, "case {at}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "case {at}");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["reason"], reason, "case {at}");
    }
}

/// Polls as a filter does, for ever.
async fn follow(server: &Server, reader: &mut Reader) -> Infallible {
    loop {
        reader.poll(server, 1).await;
    }
}

#[tokio::test]
async fn a_suspension_waits_for_every_worker_that_it_concerns() {
    let server = Server::start().await;
    server.register("acme").await;
    server.register("globex").await;
    let mut first = server.reader("gateway", GATEWAY, "01");
    let mut second = server.reader("gateway", GATEWAY, "02");
    let mut sidecar = server.reader("public:acme", SIDECAR, "03");
    for reader in [&mut first, &mut second, &mut sidecar] {
        reader.sync(&server).await;
        // The poll after the sync acknowledges it.
        reader.poll(&server, 0).await;
    }
    let proxies = server.expect(200, Method::GET, "/v1/proxies", None).await;
    assert_eq!(proxies["workers"].as_array().unwrap().len(), 3);

    let suspend = async |id: &str, wait: u32| {
        let path = format!("/v1/clusters/{id}/suspend?wait={wait}");
        server.expect(200, Method::POST, &path, None).await
    };

    // The second gateway does not poll: the change is pending there, and the wait ends.
    let begun = Instant::now();
    let answer = tokio::select! {
        answer = suspend("acme", 3) => answer,
        never = follow(&server, &mut first) => match never {},
        never = follow(&server, &mut sidecar) => match never {},
    };
    assert_eq!((answer["workers"].as_u64(), answer["acknowledged"].as_u64()), (Some(3), Some(2)), "{answer}");
    assert_eq!(answer["pending"][0]["worker"], "02");
    assert!(begun.elapsed() >= Duration::from_secs(3));

    // Everybody polls: the answer comes as soon as all have it. The sidecar of another cluster is not asked.
    let begun = Instant::now();
    let answer = tokio::select! {
        answer = suspend("globex", 30) => answer,
        never = follow(&server, &mut first) => match never {},
        never = follow(&server, &mut second) => match never {},
    };
    assert_eq!((answer["workers"].as_u64(), answer["acknowledged"].as_u64()), (Some(2), Some(2)), "{answer}");
    assert_eq!(answer["pending"], json!([]));
    assert!(begun.elapsed() < AT_ONCE);
}

#[tokio::test]
async fn a_worker_that_is_gone_stops_counting() {
    let server = Server::start_with(|config| config["mesh"]["workerForgetSeconds"] = json!(1)).await;
    server.register("acme").await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    common::until("the worker is forgotten", async || {
        let proxies = server.expect(200, Method::GET, "/v1/proxies", None).await;
        proxies["workers"].as_array().unwrap().is_empty()
    })
    .await;
    // It may be cut off and serve by what it has: whoever waits is told.
    let answer = server.expect(200, Method::POST, "/v1/clusters/acme/suspend?wait=1", None).await;
    assert_eq!((&answer["workers"], &answer["pending"]), (&json!(0), &json!([])), "{answer}");
    assert_eq!(answer["silent"][0]["worker"], "01", "{answer}");
    let left = answer["silent"][0]["stale_in_ms"].as_u64().unwrap();
    assert!((200_000..300_000).contains(&left), "{answer}");
}
