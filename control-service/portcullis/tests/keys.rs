//! API keys over their life, and revocations that end.

mod common;

use std::time::{Duration, Instant};

use common::{AT_ONCE, GATEWAY, LONG_POLL, Reader, SIDECAR, Server, text, until};
use portcullis_mesh::idp::now_s;
use portcullis_protocol::audit::keyed_hash;
use portcullis_protocol::wire::{AuditBatch, AuditRecord};
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};

fn ends(reader: &Reader, key: &str) -> Option<u64> {
    let digest = keyed_hash(reader.state.pepper().unwrap(), key.as_bytes());
    reader.state.api_key(&digest).map(|entry| entry.expires_at)
}

#[tokio::test]
async fn a_key_rotates_with_an_overlap() {
    let server = Server::start().await;
    let body = json!({"tenant": "acme", "subject": "batch", "source_type": "worker", "roles": ["reader"],
        "scopes": ["a"], "expires_in_s": 1000});
    let old = server.expect(201, Method::POST, "/v1/api-keys", Some(body)).await;
    let path = ["/v1/api-keys/", &text(&old["api_key"]["id"]), "/rotate"].concat();
    let rotated = server.expect(201, Method::POST, &path, Some(json!({"overlap_s": 60}))).await;
    let new = text(&rotated["key"]);
    for field in ["tenant", "subject", "source_type", "roles", "scopes"] {
        assert_eq!(rotated["api_key"][field], old["api_key"][field], "{field}");
    }
    assert_eq!(rotated["replaced"]["replaced_by"], rotated["api_key"]["id"]);
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let old_end = ends(&reader, &text(&old["key"])).unwrap();
    assert!((now_s() + 55..=now_s() + 60).contains(&old_end), "the old key ends after the overlap");
    let new_end = ends(&reader, &new).unwrap();
    assert!(
        (now_s() + 990..=now_s() + 1000).contains(&new_end),
        "the new one lives as long as the old one was made to"
    );
    // It has been replaced already; a second one would leave two that nobody asked for.
    server.expect(410, Method::POST, &path, None).await;
    server.expect(404, Method::POST, "/v1/api-keys/none/rotate", None).await;
    server.expect(400, Method::POST, &path, Some(json!({"overlap_s": 2_592_001}))).await;
    // Without an overlap the old key ends at once, at every gateway that has the change.
    let again = ["/v1/api-keys/", &text(&rotated["api_key"]["id"]), "/rotate"].concat();
    let last = server.expect(201, Method::POST, &again, None).await;
    reader.sync(&server).await;
    assert!(ends(&reader, &new).unwrap() <= now_s());
    assert!(ends(&reader, &text(&last["key"])).unwrap() > now_s());
}

fn used(stream: u8, sequence: u64, key_id: &str, decision: &str, time_ms: u64) -> Vec<u8> {
    AuditRecord {
        stream: vec![stream; 16],
        sequence,
        time_ms,
        decision: decision.to_owned(),
        credential: "api_key".to_owned(),
        key_id: key_id.to_owned(),
        ..AuditRecord::default()
    }
    .encode_to_vec()
}

#[tokio::test]
async fn the_last_use_of_a_key_is_known_and_survives_a_stop() {
    let mut server = Server::start().await;
    let id = text(&server.create_key("batch").await["api_key"]["id"]);
    let unused = text(&server.create_key("unused").await["api_key"]["id"]);
    let records = vec![
        used(1, 1, &id, "allow", 1_000),
        used(1, 2, &id, "allow", 5_000),
        used(1, 3, &id, "refuse", 9_000),
        used(1, 4, &unused, "refuse", 9_000),
    ];
    let batch = async |server: &Server, records: Vec<Vec<u8>>| {
        let body = AuditBatch { records, ..AuditBatch::default() }.encode_to_vec();
        let call = server.mesh(Method::POST, "/mesh/v1/audit", GATEWAY).body(body);
        assert_eq!(call.send().await.unwrap().status(), 200);
    };
    let last = async |server: &Server, id: &str| -> Value {
        let list = server.expect(200, Method::GET, "/v1/api-keys", None).await;
        list["api_keys"].as_array().unwrap().iter().find(|k| k["id"] == id).unwrap()["last_used_at_ms"]
            .clone()
    };
    batch(&server, records).await;
    until("the use is written", async || last(&server, &id).await == 5_000).await;
    assert_eq!(last(&server, &unused).await, Value::Null);
    // An older record that comes late does not turn the time back; the newest is written at the stop.
    batch(&server, vec![used(2, 1, &id, "allow", 2_000), used(2, 2, &id, "allow", 7_000)]).await;
    server.signal("TERM");
    assert_eq!(server.exit_code().await, Some(0));
    server.restart().await;
    assert_eq!(last(&server, &id).await, 7_000);
}

#[tokio::test]
async fn a_session_is_revoked_and_a_revocation_with_an_end_goes_by_itself() {
    let server = Server::start().await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    let body = json!({"name": "sid:abc", "expires_in_s": 1});
    let added = server.expect(201, Method::POST, "/v1/revocations", Some(body)).await;
    assert!(added["revocation"]["expires_at_s"].as_u64().unwrap() <= now_s() + 1);
    server.expect(201, Method::POST, "/v1/revocations", Some(json!({"name": "sub:ann"}))).await;
    // A key goes by whatever name its issuer gave it; nothing else does.
    let odd = |kind: &str| Some(json!({"name": format!("{kind}:schlüssel, one")}));
    server.expect(201, Method::POST, "/v1/revocations", odd("kid")).await;
    server.expect(400, Method::POST, "/v1/revocations", odd("sid")).await;
    let removed = server.expect(200, Method::DELETE, "/v1/revocations?name=kid:schl%C3%BCssel,%20one", None);
    removed.await;
    server
        .expect(400, Method::POST, "/v1/revocations", Some(json!({"name": "sub:b", "expires_in_s": 0})))
        .await;
    reader.sync(&server).await;
    assert!(reader.state.is_revoked("sid:abc"));
    // It stays for two hours after its end, in case that the clock was ahead. They pass at once.
    let database = rusqlite::Connection::open(server.folder.path().join("data/portcullis.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    let earlier = "UPDATE revocation SET expires_at_s = expires_at_s - 7200 WHERE name = 'sid:abc'";
    assert_eq!(database.execute(earlier, []).unwrap(), 1);
    until("it is gone from the list", async || {
        let list = server.expect(200, Method::GET, "/v1/revocations", None).await;
        list["revocations"].as_array().unwrap().len() == 1
    })
    .await;
    reader.sync(&server).await;
    assert!(!reader.state.is_revoked("sid:abc") && reader.state.is_revoked("sub:ann"));
}

#[tokio::test]
async fn sidecars_learn_of_revocations_without_reading_whose_they_are() {
    let mut server = Server::start().await;
    server.register("acme").await;
    let mut gateway = server.reader("gateway", GATEWAY, "01");
    let mut sidecar = server.reader("public:acme", SIDECAR, "02");
    gateway.sync(&server).await;
    sidecar.sync(&server).await;
    let key = server.create_key("batch").await;
    let id = text(&key["api_key"]["id"]);
    let names = ["sub:ann@globex.example", "sid:s-1", "kid:k-1", "client:web"].map(str::to_owned);
    for name in names.iter().chain(&["jti:t-1".to_owned()]) {
        let begun = Instant::now();
        let (page, _) = tokio::join!(
            async {
                if name.starts_with("jti") {
                    sidecar.poll(&server, 0).await
                } else {
                    sidecar.poll(&server, LONG_POLL).await
                }
            },
            async {
                if !name.starts_with("jti") {
                    server.until_polling(&["02"]).await;
                }
                server.expect(201, Method::POST, "/v1/revocations", Some(json!({"name": name}))).await
            }
        );
        let told = !page.records.is_empty();
        assert_eq!(told, !name.starts_with("jti"), "{name}: {page:?}");
        assert_eq!(sidecar.state.is_revoked(name), told, "{name}");
        assert!(begun.elapsed() < AT_ONCE, "{name}: {:?}", begun.elapsed());
        gateway.sync(&server).await;
        assert!(gateway.state.is_revoked(name), "{name}");
    }
    // An API key ends at gateways; sidecars know it by the tokens that it led to.
    let kid = ["kid:", &id].concat();
    server.expect(200, Method::DELETE, &["/v1/api-keys/", &id].concat(), None).await;
    sidecar.sync(&server).await;
    assert!(sidecar.state.is_revoked(&kid));
    // Nobody can read the names in what sidecars get, not even where a page ends.
    let mut again = server.reader("public:acme", SIDECAR, "03");
    let pages = again.sync(&server).await;
    let bytes: Vec<u8> = pages.iter().flat_map(prost::Message::encode_to_vec).collect();
    for name in ["ann@globex", "s-1", "k-1", "web", "t-1", &id] {
        assert!(!bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
    assert!(names.iter().all(|name| again.state.is_revoked(name)) && !again.state.is_revoked("sub:bob"));
    // What is taken back is taken back there too, and a restart forgets nothing.
    server.expect(200, Method::DELETE, "/v1/revocations?name=sid:s-1", None).await;
    again.sync(&server).await;
    assert!(!again.state.is_revoked("sid:s-1") && again.state.is_revoked("client:web"));
    server.restart().await;
    let mut fresh = server.reader("public:acme", SIDECAR, "04");
    fresh.sync(&server).await;
    assert!(!fresh.state.is_revoked("sid:s-1") && fresh.state.is_revoked("client:web"));
    assert!(fresh.state.is_revoked(&kid));
}

#[tokio::test]
async fn a_revocation_is_waited_for_at_gateways_and_sidecars() {
    let server = Server::start().await;
    server.register("acme").await;
    let mut gateway = server.reader("gateway", GATEWAY, "01");
    let mut sidecar = server.reader("public:acme", SIDECAR, "02");
    gateway.sync(&server).await;
    sidecar.sync(&server).await;
    // Acknowledged by the next poll of each.
    let acknowledge = async |reader: &mut common::Reader| {
        reader.poll(&server, LONG_POLL).await;
        reader.poll(&server, 0).await;
    };
    let add = async |name: &str, workers: &[&str]| {
        server.until_polling(workers).await;
        let body = Some(json!({"name": name}));
        server.expect(201, Method::POST, "/v1/revocations?wait=30", body).await
    };
    let (_, _, added) =
        tokio::join!(acknowledge(&mut gateway), acknowledge(&mut sidecar), add("sub:ann", &["01", "02"]));
    assert_eq!((&added["workers"], &added["acknowledged"]), (&json!(2), &json!(2)), "{added}");
    let (_, added) = tokio::join!(acknowledge(&mut gateway), add("jti:t-1", &["01"]));
    assert_eq!((&added["workers"], &added["acknowledged"]), (&json!(1), &json!(1)), "{added}");
}

#[tokio::test]
async fn a_revoked_key_is_known_to_a_waiting_worker_within_a_second() {
    let server = Server::start().await;
    let created = server.create_key("batch").await;
    let key = text(&created["key"]);
    let path = ["/v1/api-keys/", &text(&created["api_key"]["id"]), "?wait=30"].concat();
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let worker = async {
        while ends(&reader, &key).is_some() {
            reader.poll(&server, LONG_POLL).await;
        }
        let gone = std::time::Instant::now();
        // The next poll acknowledges it.
        reader.poll(&server, 0).await;
        gone
    };
    let revoke = async {
        server.until_polling(&["01"]).await;
        let begun = std::time::Instant::now();
        let answer = server.expect(200, Method::DELETE, &path, None).await;
        (begun, answer)
    };
    let (gone, (begun, answer)) = tokio::join!(worker, revoke);
    assert!(gone.saturating_duration_since(begun) < Duration::from_secs(1));
    assert_eq!((answer["workers"].as_u64(), answer["acknowledged"].as_u64()), (Some(1), Some(1)), "{answer}");
}
