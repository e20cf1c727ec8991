//! Audit ingest and query: each record once, gaps known, nothing acknowledged that is not durable.

mod common;

use std::process::Output;

use common::{GATEWAY, Server};
use portcullis_protocol::audit::{hex, unhex};
use portcullis_protocol::wire::{AuditAck, AuditBatch, AuditRecord};
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const STREAM: [u8; 16] = [7; 16];

fn record(sequence: u64) -> AuditRecord {
    AuditRecord {
        stream: STREAM.to_vec(),
        sequence,
        time_ms: 1_700_000_000_000,
        proxy: "router~1".into(),
        request_id: ["r", &sequence.to_string()].concat(),
        decision: "refuse".into(),
        reason: "cluster_unknown".into(),
        status: 404,
        subject: "alice".into(),
        tenant: "acme".into(),
        cluster: if sequence.is_multiple_of(2) { "even" } else { "odd" }.into(),
        hop: "gateway".into(),
        ..AuditRecord::default()
    }
}

fn encoded(sequences: impl IntoIterator<Item = u64>) -> Vec<Vec<u8>> {
    sequences.into_iter().map(|s| record(s).encode_to_vec()).collect()
}

async fn post(server: &Server, records: Vec<Vec<u8>>) -> AuditAck {
    post_batch(server, &AuditBatch { records, ..AuditBatch::default() }).await
}

async fn post_batch(server: &Server, batch: &AuditBatch) -> AuditAck {
    let body = batch.encode_to_vec();
    let answer = server.mesh(Method::POST, "/mesh/v1/audit", GATEWAY).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    AuditAck::decode(answer.bytes().await.unwrap()).unwrap()
}

async fn get(server: &Server, path: &str) -> Value {
    server.expect(200, Method::GET, path, None).await
}

fn gateway_stream(status: &Value) -> &Value {
    status["streams"].as_array().unwrap().iter().find(|s| s["stream"] == hex(&STREAM)).unwrap()
}

#[tokio::test]
async fn a_record_is_stored_once_and_gaps_are_known_until_they_close() {
    let server = Server::start().await;
    let ack = post(&server, encoded([1, 2, 5, 6, 9])).await;
    assert_eq!((ack.stored, ack.duplicates, ack.rejected), (5, 0, 0));
    let ack = post(&server, encoded([2, 3, 5])).await;
    assert_eq!((ack.stored, ack.duplicates, ack.rejected), (1, 2, 0));
    let status = get(&server, "/v1/audit/status").await;
    let stream = gateway_stream(&status);
    assert_eq!(stream["gaps"], serde_json::json!([[4, 4], [7, 8]]));
    assert_eq!((&stream["missing"], &status["lost"]), (&3.into(), &3.into()));
    assert_eq!((&stream["duplicates"], &stream["conflicts"]), (&2.into(), &0.into()));
    post(&server, encoded([8, 4, 7])).await;
    let status = get(&server, "/v1/audit/status").await;
    assert_eq!(gateway_stream(&status)["gaps"], serde_json::json!([]));
    assert_eq!(status["lost"], 0);
}

#[tokio::test]
async fn what_was_dropped_last_is_missing_without_a_later_record() {
    let server = Server::start().await;
    let batch = |sequences: &[u64], settled| AuditBatch {
        records: encoded(sequences.iter().copied()),
        stream: STREAM.to_vec(),
        settled,
    };
    post_batch(&server, &batch(&[1, 2], 2)).await;
    assert_eq!(get(&server, "/v1/audit/status").await["lost"], 0);
    post_batch(&server, &batch(&[3], 7)).await;
    let status = get(&server, "/v1/audit/status").await;
    assert_eq!(gateway_stream(&status)["gaps"], serde_json::json!([[4, 7]]));
    assert_eq!((&gateway_stream(&status)["highest"], &status["lost"]), (&7.into(), &4.into()));
    // A batch that went its way more slowly takes nothing back, and what comes after all closes the gap.
    post_batch(&server, &batch(&[4, 5, 6, 7], 3)).await;
    assert_eq!(get(&server, "/v1/audit/status").await["lost"], 0);
}

#[tokio::test]
async fn no_number_makes_the_status_overflow() {
    let server = Server::start().await;
    for stream in [[1_u8; 16], [2; 16]] {
        for sequence in [1, i64::MAX as u64, u64::MAX] {
            let record = AuditRecord { stream: stream.to_vec(), ..record(sequence) }.encode_to_vec();
            let batch = AuditBatch { records: vec![record], stream: stream.to_vec(), settled: sequence };
            post_batch(&server, &batch).await;
        }
    }
    let status = get(&server, "/v1/audit/status").await;
    assert_eq!((&status["missing"], &status["rejected"]), (&0.into(), &4.into()));
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_hurts_nothing_else() {
    let server = Server::start().await;
    let unnumbered = AuditRecord { sequence: 0, ..record(1) }.encode_to_vec();
    let nameless = AuditRecord { stream: vec![1; 3], ..record(1) }.encode_to_vec();
    let huge = AuditRecord { path: "x".repeat(70_000), ..record(1) }.encode_to_vec();
    let mut batch = vec![b"\xff\xff\xff".to_vec(), unnumbered, nameless, huge];
    batch.extend(encoded([1]));
    let ack = post(&server, batch).await;
    assert_eq!((ack.stored, ack.duplicates, ack.rejected), (1, 0, 4));
    let status = get(&server, "/v1/audit/status").await;
    assert_eq!((&status["rejected"], &status["lost"]), (&4.into(), &4.into()));
    let garbage = server.mesh(Method::POST, "/mesh/v1/audit", GATEWAY).body(vec![0xff; 64]);
    let answer = garbage.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "batch_invalid");
    let large = server.mesh(Method::POST, "/mesh/v1/audit", GATEWAY).body(vec![0; 5 * 1024 * 1024]);
    assert_eq!(large.send().await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_second_record_of_the_same_number_does_not_replace_the_first() {
    let server = Server::start().await;
    post(&server, encoded([1])).await;
    let forged = AuditRecord { subject: "mallory".into(), ..record(1) }.encode_to_vec();
    assert_eq!(post(&server, vec![forged]).await.duplicates, 1);
    let found = get(&server, "/v1/audit/records?request_id=r1").await;
    assert_eq!(found["records"].as_array().unwrap().len(), 1);
    assert_eq!(found["records"][0]["subject"], "alice");
    assert_eq!(get(&server, "/v1/audit/status").await["conflicts"], 1);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut server = Server::start().await;
    for begin in (1..=2000).step_by(200) {
        assert_eq!(post(&server, encoded(begin..begin + 200)).await.stored, 200);
    }
    server.kill();
    server.restart().await;
    let status = get(&server, "/v1/audit/status").await;
    let stream = gateway_stream(&status);
    assert_eq!((&stream["stored"], &stream["missing"]), (&2000.into(), &0.into()));
    assert_eq!(post(&server, encoded(1..=2000)).await.duplicates, 2000);
}

#[tokio::test]
async fn records_are_found_by_what_they_say_page_by_page() {
    let server = Server::start().await;
    post(&server, encoded(1..=250)).await;
    let one = get(&server, "/v1/audit/records?request_id=r42").await;
    let found = &one["records"][0];
    assert_eq!((&found["sequence"], &found["status"]), (&42.into(), &404.into()));
    let entry = unhex(found["entry"].as_str().unwrap()).unwrap();
    let leaf: [u8; 32] = Sha256::new().chain_update([0]).chain_update(entry).finalize().into();
    assert_eq!(found["leaf_hash"], hex(&leaf));

    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let path =
            ["/v1/audit/records?cluster=even&subject=alice&tenant=acme&limit=50&after=", &after.to_string()];
        let page = get(&server, &path.concat()).await;
        seen.extend(page["records"].as_array().unwrap().iter().map(|r| r["sequence"].as_u64().unwrap()));
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, (1..=250).filter(|n| n % 2 == 0).collect::<Vec<_>>());
    let none = get(&server, "/v1/audit/records?cluster=even&tenant=globex").await;
    assert_eq!(none["records"], serde_json::json!([]));
    server.expect(400, Method::GET, "/v1/audit/records?limit=0", None).await;
    server.expect(400, Method::GET, "/v1/audit/records?user=x", None).await;
}

#[tokio::test]
async fn stored_records_cannot_be_changed_or_deleted() {
    let server = Server::start().await;
    post(&server, encoded([1])).await;
    let database = rusqlite::Connection::open(server.folder.path().join("data/portcullis.db")).unwrap();
    for statement in ["UPDATE audit_record SET cluster = 'nowhere'", "DELETE FROM audit_record"] {
        let error = database.execute(statement, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn what_administrators_do_try_and_read_is_audited() {
    let server = Server::start().await;
    server.register("acme").await;
    server
        .expect(
            409,
            Method::POST,
            "/v1/clusters",
            Some(serde_json::json!({
        "id": "acme", "tenant": "acme", "placement": "on_premises"})),
        )
        .await;
    let call = server.api(Method::POST, "/v1/clusters/acme/suspend").header("x-request-id", "my-request");
    assert_eq!(call.send().await.unwrap().status(), 200);
    get(&server, "/v1/audit/status").await;
    let records = get(&server, "/v1/audit/records?hop=control").await;
    let seen: Vec<_> = records["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            [&r["method"], &r["path"], &r["status"], &r["reason"]]
                .map(|v| v.to_string().replace('"', ""))
                .join(" ")
        })
        .collect();
    assert_eq!(
        seen,
        [
            "CLI /bootstrap-admin 201 ",
            "POST /v1/clusters 201 ",
            "POST /v1/clusters 409 cluster_exists",
            "POST /v1/clusters/acme/suspend 200 ",
            "GET /v1/audit/status 200 ",
        ]
    );
    let suspension = get(&server, "/v1/audit/records?request_id=my-request").await;
    assert_eq!(suspension["records"][0]["cluster"], "acme");
    let subject = common::text(&suspension["records"][0]["subject"]);
    assert!(subject.starts_with("admin:") && server.admin.contains(&subject[6..]), "{subject}");
}

fn command(server: &Server, arguments: &[&str]) -> Output {
    let token = server.folder.path().join("admin");
    std::fs::write(&token, &server.admin).unwrap();
    let url = server.url("platform", "");
    let shared = ["--server", &url, "--token-file", token.to_str().unwrap(), "--output", "json"];
    common::run(&[&["audit"], &shared[..], arguments].concat())
}

fn answer(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&common::stdout(&command(server, arguments))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_by_a_command_and_the_log_still_verifies() {
    let server = Server::start().await;
    post(&server, encoded(1..=3)).await;
    let found = answer(&server, &["records", "--subject", "alice", "--newest", "--limit", "2"]);
    let sequences: Vec<_> =
        found["records"].as_array().unwrap().iter().map(|r| r["sequence"].clone()).collect();
    assert_eq!(sequences, [3, 2]);
    let next = found["next"].to_string();
    let rest = answer(&server, &["records", "--subject", "alice", "--newest", "--before", &next]);
    assert_eq!(rest["records"][0]["sequence"], 1);
    let index = rest["records"][0]["index"].to_string();
    let verified = answer(&server, &["verify", &index]);
    assert_eq!((&verified["subject"], &verified["entry"]), (&json!("alice"), &json!("commitment")));

    let unknown = command(&server, &["erase", "--tenant", "globex", "--subject", "alice"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("subject_unknown"), "{unknown:?}");
    let erased = answer(&server, &["erase", "--tenant", "acme", "--subject", "alice"]);
    assert_eq!(answer(&server, &["records", "--subject", "alice"])["records"], json!([]));
    let left =
        answer(&server, &["records", "--tenant", "acme", "--reason", "cluster_unknown", "--hop", "gateway"]);
    let left = left["records"].as_array().unwrap();
    assert!(left.len() == 3 && left.iter().all(|r| r["erased"] == "subject" && r["subject"] == ""));
    let verified = answer(&server, &["verify", &index]);
    assert_eq!((&verified["erased"], &verified["cluster"]), (&json!("subject"), &json!("odd")));

    let name = ["/v1/audit/erasures/", erased["erased"].as_str().unwrap()].concat();
    let told = get(&server, "/v1/audit/records?hop=control&order=newest").await;
    assert!(told["records"].as_array().unwrap().iter().any(|r| r["path"] == *name), "{told}");
    assert!(!told.to_string().contains("alice"), "{told}");
    let status = get(&server, "/v1/audit/status").await;
    assert_eq!((&status["erasures"], &status["committed_from"]), (&json!(1), &json!(1)));
    let wrong = json!({"tenant": "acme"});
    server.expect(400, Method::POST, "/v1/audit/erasures", Some(wrong)).await;
    for index in ["0", "99999", "x"] {
        let path = ["/v1/audit/entries/", index].concat();
        assert_eq!(server.expect(404, Method::GET, &path, None).await["reason"], "entry_unknown");
    }
}
