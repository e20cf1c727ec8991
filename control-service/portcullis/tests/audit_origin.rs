//! Whose records the audit log takes: each principal its own, and nobody those of the control service.

mod common;

use common::{GATEWAY, SIDECAR, Server, text};
use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::{AuditAck, AuditBatch, AuditRecord};
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};

/// A principal of another cluster, of another tenant.
const OTHER: &str = "spiffe://cluster.local/ns/globex/sa/data-api";
const INGRESS: &str = "router~10.0.0.1~istio-ingressgateway-0.istio-system~istio-system.svc.cluster.local";

async fn start() -> Server {
    let server = Server::start_with(|config| {
        let other = json!({"cluster": "globex-1", "principals": [OTHER]});
        config["mesh"]["sidecars"].as_array_mut().unwrap().push(other);
    })
    .await;
    server.register("acme").await;
    let body = json!({"id": "globex-1", "tenant": "globex", "placement": "on_premises"});
    server.expect(201, Method::POST, "/v1/clusters", Some(body)).await;
    server
}

/// What the filter at the sidecar of cluster `acme` records.
fn sidecar(stream: u8, sequence: u64) -> AuditRecord {
    AuditRecord {
        stream: vec![stream; 16],
        sequence,
        proxy: "sidecar~10.0.0.2~data-api-0.acme~acme.svc.cluster.local".into(),
        decision: "allow".into(),
        subject: "ann".into(),
        tenant: "acme".into(),
        cluster: "acme".into(),
        credential: "api_key".into(),
        hop: "sidecar".into(),
        ..AuditRecord::default()
    }
}

/// What the gateway records.
fn gateway(stream: u8, sequence: u64) -> AuditRecord {
    AuditRecord { proxy: INGRESS.into(), hop: "gateway".into(), ..sidecar(stream, sequence) }
}

async fn send(server: &Server, principal: &str, records: &[AuditRecord], settled: (u8, u64)) -> [u64; 3] {
    let (stream, settled) = settled;
    let records = records.iter().map(AuditRecord::encode_to_vec).collect();
    let batch = AuditBatch { records, stream: vec![stream; 16], settled }.encode_to_vec();
    let answer = server.mesh(Method::POST, "/mesh/v1/audit", principal).body(batch).send().await.unwrap();
    assert_eq!(answer.status(), 200, "whatever is refused must not be sent again for ever");
    let ack = AuditAck::decode(answer.bytes().await.unwrap()).unwrap();
    [ack.stored, ack.duplicates, ack.rejected]
}

async fn post(server: &Server, principal: &str, records: &[AuditRecord]) -> [u64; 3] {
    send(server, principal, records, (0, 0)).await
}

async fn status(server: &Server) -> Value {
    server.expect(200, Method::GET, "/v1/audit/status", None).await
}

async fn records(server: &Server, query: &str) -> Vec<Value> {
    let path = ["/v1/audit/records?", query].concat();
    let page = server.expect(200, Method::GET, &path, None).await;
    page["records"].as_array().unwrap().clone()
}

async fn metrics(server: &Server) -> String {
    let call = server.http.get(server.url("operations", "/metrics"));
    call.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_sidecar_cannot_record_as_the_gateway_for_others_or_as_an_administrator() {
    let server = start().await;
    let forged = [
        // As the gateway, about anybody.
        AuditRecord { tenant: "globex".into(), cluster: "globex-1".into(), ..gateway(1, 1) },
        gateway(1, 2),
        AuditRecord { hop: "audit".into(), ..sidecar(1, 3) },
        AuditRecord { hop: String::new(), ..sidecar(1, 4) },
        // About another cluster, another tenant, or what is neither.
        AuditRecord { cluster: "globex-1".into(), ..sidecar(1, 5) },
        AuditRecord { tenant: "globex".into(), ..sidecar(1, 6) },
        AuditRecord { tenant: "globex".into(), cluster: String::new(), ..sidecar(1, 7) },
        AuditRecord { cluster: "ACME".into(), ..sidecar(1, 8) },
        // As the control service and its administrators.
        AuditRecord { hop: "control".into(), ..sidecar(1, 9) },
        AuditRecord { proxy: "control-service".into(), ..sidecar(1, 10) },
        AuditRecord { credential: "admin_token".into(), ..sidecar(1, 11) },
    ];
    let begun = std::time::Instant::now();
    assert_eq!(post(&server, SIDECAR, &forged).await, [0, 0, 11]);
    for query in ["tenant=globex", "hop=gateway", "cluster=globex-1", "hop=control"] {
        let found = records(&server, query).await;
        assert!(found.iter().all(|r| r["stream"] != hex(&[1; 16])), "{query}: {found:?}");
    }
    let status = status(&server).await;
    assert_eq!((&status["rejected"], &status["sidecars_rejected"]), (&11.into(), &11.into()));
    assert_eq!(status["gateways_lost"], 0);
    // What is refused shows, without anything that the records say, and once in a second at most.
    let metrics = metrics(&server).await;
    for (reason, count) in [("hop", 4), ("cluster", 2), ("tenant", 2), ("control", 3)] {
        let line = format!(
            "portcullis_audit_records_refused_total{{principal=\"{SIDECAR}\",reason=\"{reason}\"}} {count}"
        );
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    for sequence in 20..30 {
        post(&server, SIDECAR, &[gateway(1, sequence)]).await;
    }
    let log = server.log();
    let lines: Vec<_> = log.lines().filter(|l| l.contains("audit records were refused")).collect();
    assert!((1..=begun.elapsed().as_secs() + 1).contains(&(lines.len() as u64)), "{log}");
    assert!(lines[0].contains(SIDECAR) && !lines[0].contains("ann"), "{log}");
}

#[tokio::test]
async fn a_sidecar_records_about_its_own_cluster() {
    let server = start().await;
    let good = [
        sidecar(1, 1),
        // Refused before anybody or any cluster was known.
        AuditRecord {
            subject: String::new(),
            tenant: String::new(),
            cluster: String::new(),
            ..sidecar(1, 2)
        },
        AuditRecord { tenant: String::new(), ..sidecar(1, 3) },
        AuditRecord { cluster: String::new(), ..sidecar(1, 4) },
        // Taken over from another worker of the same proxy.
        sidecar(2, 7),
    ];
    assert_eq!(send(&server, SIDECAR, &good, (1, 4)).await, [5, 0, 0]);
    let stored = records(&server, "hop=sidecar").await;
    assert_eq!(stored.iter().map(|r| text(&r["principal"])).collect::<Vec<_>>(), [SIDECAR; 5]);
    let control = records(&server, "hop=control").await;
    assert!(!control.is_empty() && control.iter().all(|r| r["principal"] == ""), "{control:?}");
    let status = status(&server).await;
    assert_eq!((&status["sidecars_missing"], &status["gateways_missing"]), (&6.into(), &0.into()));
    // A cluster that nobody registered has no tenant.
    let none = Server::start().await;
    assert_eq!(post(&none, SIDECAR, &[sidecar(1, 1)]).await, [0, 0, 1]);
    let nobody = AuditRecord { tenant: String::new(), ..sidecar(1, 2) };
    assert_eq!(post(&none, SIDECAR, &[nobody]).await, [1, 0, 0]);
}

#[tokio::test]
async fn not_even_a_gateway_records_as_the_control_service() {
    let server = start().await;
    let forged = [
        AuditRecord { hop: "control".into(), ..gateway(1, 1) },
        AuditRecord { proxy: "control-service".into(), ..gateway(1, 2) },
        AuditRecord { credential: "admin_token".into(), ..gateway(1, 3) },
    ];
    assert_eq!(post(&server, GATEWAY, &forged).await, [0, 0, 3]);
    let about_anybody = AuditRecord { tenant: "globex".into(), cluster: "none".into(), ..gateway(1, 4) };
    assert_eq!(post(&server, GATEWAY, &[about_anybody]).await, [1, 0, 0]);
    let status = status(&server).await;
    assert_eq!((&status["gateways_rejected"], &status["gateways_missing"]), (&3.into(), &3.into()));
}

#[tokio::test]
async fn a_stream_belongs_to_the_principal_that_wrote_to_it_first() {
    let mut server = start().await;
    assert_eq!(send(&server, GATEWAY, &[gateway(1, 1)], (1, 1)).await, [1, 0, 0]);
    for principal in [SIDECAR, OTHER] {
        let cluster = if principal == SIDECAR { "acme" } else { "globex-1" };
        let tenant = if principal == SIDECAR { "acme" } else { "globex" };
        let mine =
            |sequence| AuditRecord { tenant: tenant.into(), cluster: cluster.into(), ..sidecar(1, sequence) };
        // Neither a number in advance, nor the word that numbers are lost, nor the count of duplicates.
        assert_eq!(send(&server, principal, &[mine(2), mine(1)], (1, 50)).await, [0, 0, 2]);
        server.kill();
        server.restart().await;
    }
    assert_eq!(send(&server, GATEWAY, &[gateway(1, 2)], (1, 2)).await, [1, 0, 0]);
    // The control service's own stream is nobody else's either.
    let status = status(&server).await;
    let streams = status["streams"].as_array().unwrap();
    let of = |kind: &str| streams.iter().find(|s| s["kind"] == kind).unwrap().clone();
    let found = of("gateway");
    assert_eq!(
        (&found["stored"], &found["missing"], &found["duplicates"]),
        (&2.into(), &0.into(), &0.into())
    );
    assert_eq!((&found["principal"], &found["conflicts"]), (&GATEWAY.into(), &0.into()));
    let stream = portcullis_protocol::audit::unhex(&text(&of("control")["stream"])).unwrap();
    let own = AuditRecord { stream, ..gateway(1, 1000) };
    assert_eq!(post(&server, GATEWAY, &[own]).await, [0, 0, 1]);
}

#[tokio::test]
async fn no_made_up_number_hides_what_gateways_lose() {
    let server = start().await;
    let far = 1 << 48;
    assert_eq!(send(&server, SIDECAR, &[sidecar(1, far)], (1, far)).await, [0, 0, 1]);
    assert_eq!(send(&server, SIDECAR, &[sidecar(2, 1)], (2, far)).await, [1, 0, 0]);
    assert_eq!(send(&server, SIDECAR, &[sidecar(2, 100_000_000)], (2, 1)).await, [0, 0, 1]);
    assert_eq!(send(&server, GATEWAY, &[gateway(3, far)], (3, far)).await, [0, 0, 1]);
    let lost = status(&server).await;
    assert_eq!((&lost["missing"], &lost["lost"]), (&0.into(), &3.into()));
    let refused = format!("principal=\"{SIDECAR}\",reason=\"number\"}} 4");
    assert!(metrics(&server).await.contains(&refused), "two records, and two words about what is lost");
    // What a sidecar may make up at once is bounded, and stands apart.
    assert_eq!(send(&server, SIDECAR, &[sidecar(2, 9_000_000)], (2, 9_000_000)).await, [1, 0, 0]);
    // A gateway that counted long before this database was made, and one that shut everybody out for hours.
    assert_eq!(send(&server, GATEWAY, &[gateway(4, 5), gateway(4, 8)], (4, 8)).await, [2, 0, 0]);
    assert_eq!(post(&server, GATEWAY, &[gateway(5, 50_000_000_000)]).await, [1, 0, 0]);
    assert_eq!(post(&server, GATEWAY, &[gateway(5, 50_300_000_000)]).await, [1, 0, 0]);
    let lost = status(&server).await;
    assert_eq!(lost["sidecars_missing"], 8_999_998);
    assert_eq!(lost["gateways_missing"], 6 + 50_300_000_000_u64 - 2);
    assert_eq!(lost["missing"], 6 + 50_300_000_000_u64 - 2 + 8_999_998);
}

#[tokio::test]
async fn a_sidecar_cannot_say_that_a_key_was_used() {
    let server = start().await;
    let id = text(&server.create_key("batch").await["api_key"]["id"]);
    let used = |record: AuditRecord, time_ms| AuditRecord { time_ms, key_id: id.clone(), ..record };
    assert_eq!(post(&server, SIDECAR, &[used(sidecar(1, 1), 9_000)]).await, [1, 0, 0]);
    assert_eq!(post(&server, GATEWAY, &[used(gateway(2, 1), 5_000)]).await, [1, 0, 0]);
    let last = async || {
        let list = server.expect(200, Method::GET, "/v1/api-keys", None).await;
        list["api_keys"][0]["last_used_at_ms"].clone()
    };
    common::until("the use is written", async || last().await != Value::Null).await;
    assert_eq!(last().await, 5_000);
}
