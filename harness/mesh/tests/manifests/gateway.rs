//! The pods of the gateway, as `overlays/prod` has them, on the real mesh: when one is ready, and how one ends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use portcullis_mesh::data_api::headers_seen;
use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, Options, TENANT};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::rendered::{built, pods};

const GATEWAY: &str = "ingressgateway";

/// `staleAfterSeconds` of this mesh.
const STALE: Duration = Duration::from_secs(20);

/// How often its filters poll at least.
const POLL: Duration = Duration::from_secs(5);

/// For how long clients that were told to go elsewhere still come.
const STRAGGLE: Duration = Duration::from_secs(18);

/// `pilot-agent request` of Istio's proxy image, for an Envoy at another address than its own. What its port 15020 makes of
/// `drain` is what the agent asks of the Envoy of a gateway (`DrainNow`).
const AGENT: &str = r#"#!/usr/bin/env python3
import os, sys, urllib.request
words = sys.argv[1:]
assert words.pop(0) == "request", words
port = "15000"
if words[0] == "--debug-port":
    port = words[1]
    words = words[2:]
method, path = words
if port == "15020":
    assert (method, path) == ("POST", "drain"), words
    path = "drain_listeners?graceful&skip_exit"
asked = urllib.request.Request("http://" + os.environ["ENVOY_ADMIN"] + "/" + path, method=method)
print(urllib.request.urlopen(asked, timeout=60).read().decode())
"#;

/// The one container of the gateway's pods.
fn container() -> Value {
    let deployment = built("overlays/prod").named("Deployment", "api-gateway");
    let containers = pods(&deployment).unwrap()["containers"].clone();
    assert_eq!(containers.as_array().unwrap().len(), 1);
    containers[0].clone()
}

/// What the kubelet asks to learn whether the pod is ready. The port is that of the local mesh, too.
fn readiness(mesh: &Mesh) -> Request {
    let probe = container()["readinessProbe"]["httpGet"].clone();
    assert_eq!(probe["port"], mesh.plan().ingress().port());
    mesh.get(probe["path"].as_str().unwrap())
}

/// Waits until every worker says of itself what is wanted.
async fn says(mesh: &Mesh, status: u16, text: &str) {
    let probe = readiness(mesh);
    wait::in_a_row(text, &mesh.log(GATEWAY), async || {
        Ok(match probe.send().await {
            Ok(answer) if answer.status == status && answer.text().trim() == text => Seen::Done(()),
            Ok(answer) => Seen::NotYet(format!("{} {}", answer.status, answer.text())),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await
    .unwrap();
}

/// Sends one request after the other for so long. Gives the ids of those that were answered, and whether they were let on.
async fn clients(asked: Request, tokens: [String; 2], until: Instant) -> Vec<(String, &'static str)> {
    let mut answered = Vec::new();
    let mut turn = 0;
    while Instant::now() < until {
        let (token, decision) = (&tokens[turn % 2], ["allow", "refuse"][turn % 2]);
        turn += 1;
        if let Ok(answer) = asked.clone().bearer(token).send().await {
            let refused = answer.json()["request_id"].as_str().map(ToOwned::to_owned);
            let seen = headers_seen(&answer).into_iter().find(|(name, _)| name == "x-request-id");
            let id = if answer.status == 200 { seen.map(|(_, id)| id) } else { refused };
            answered.push((id.expect("an id"), decision));
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    answered
}

/// A request that was under way when the end began, and is answered long after.
async fn slow(asked: Request, token: String) -> String {
    let (more, body) = tokio::sync::mpsc::channel(4);
    let ends = tokio::spawn(async move {
        for _ in 0..6 {
            more.send("piece".into()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    let answer = asked.method(hyper::Method::POST).bearer(&token).send_slowly(body).await.unwrap();
    ends.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    headers_seen(&answer).into_iter().find(|(name, _)| name == "x-request-id").unwrap().1
}

/// Runs the hook of the manifests, as the kubelet does before it ends the container.
async fn pre_stop(mesh: &Mesh, bin: &Path) -> Duration {
    let agent = bin.join("pilot-agent");
    std::fs::write(&agent, AGENT).unwrap();
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let hook = container()["lifecycle"]["preStop"]["exec"]["command"].clone();
    let words: Vec<_> =
        hook.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    let mut command = Command::new(&words[0]);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    command.args(&words[1..]).env("PATH", path).env("ENVOY_ADMIN", mesh.plan().ingress_admin().to_string());
    let begun = Instant::now();
    let said = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    assert!(said.status.success(), "{said:?}");
    begun.elapsed()
}

/// A8: what the agent does after the hook is to kill its Envoy, since that has drained.
async fn a_pod_that_ends_has_delivered_every_record(mesh: &mut Mesh) {
    let token = |who: &str, tenant| {
        let extra = json!({"client_id": CLIENT_PEOPLE});
        mesh.idp().sign(Algorithm::Rs256, &claims(who, tenant, &extra)).unwrap()
    };
    let tokens = [token("ann@acme.example", TENANT), token("bob@globex.example", "globex")];
    // Of a gauge that is not there the hook would learn nothing.
    let stats = Request::get(mesh.plan().ingress_admin(), "/stats?usedonly").send().await.unwrap().text();
    assert!(stats.contains("journal_records: ") && stats.contains("_8080.downstream_cx_active: "), "{stats}");
    let asked = mesh.get("/tables").header(SELECTOR, HOSTED);
    let until = Instant::now() + STRAGGLE;
    let busy: Vec<_> = (0..2).map(|_| tokio::spawn(clients(asked.clone(), tokens.clone(), until))).collect();
    let slow = tokio::spawn(slow(asked, tokens[0].clone()));
    let bin = tempfile::tempdir().unwrap();
    let took = pre_stop(mesh, bin.path()).await;
    assert!(mesh.kill(GATEWAY).await);
    let grace = pods(&built("overlays/prod").named("Deployment", "api-gateway")).unwrap()
        ["terminationGracePeriodSeconds"]
        .as_u64();
    assert!(STRAGGLE < took && took < Duration::from_secs(grace.unwrap()), "{took:?}");
    let mut answered = vec![(slow.await.unwrap(), "allow")];
    for clients in busy {
        answered.extend(clients.await.unwrap());
    }
    println!("{} requests answered while the gateway ended, in {took:?}", answered.len());
    assert!(answered.len() > 50, "{answered:?}");
    let admin = mesh.admin().unwrap();
    for (id, decision) in answered {
        let records = admin.audit(&format!("request_id={id}")).await.unwrap();
        // What lasts is on record before (`open`).
        let ends: Vec<_> = records.iter().filter(|record| record["decision"] == decision).collect();
        assert_eq!(ends.len(), 1, "{id}: {records:?}");
        assert!(ends[0]["status"].is_number(), "{id}: {records:?}");
    }
}

/// A2, A9: one that starts without a snapshot, one that has it, one whose control service is gone, one without the filter.
async fn a_pod_is_ready_while_its_filter_has_a_snapshot(mesh: &mut Mesh) {
    mesh.stop_control().await;
    mesh.restart_proxy(GATEWAY).await.unwrap();
    says(mesh, 503, "no snapshot yet").await;
    mesh.start_control().await.unwrap();
    says(mesh, 200, "ready").await;

    mesh.stop_control().await;
    let (gone, probe) = (Instant::now(), readiness(mesh));
    while gone.elapsed() < STALE - POLL * 2 {
        let answer = probe.send().await.unwrap();
        assert_eq!(answer.status, 200, "after {:?}: {}", gone.elapsed(), answer.text());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    says(mesh, 503, "no snapshot yet").await;
    println!("not ready {:?} after its control service was gone", gone.elapsed());
    mesh.start_control().await.unwrap();
    says(mesh, 200, "ready").await;

    Overlay::local(mesh.manifests()).edit_list("components", Vec::clear).unwrap();
    mesh.apply().await.unwrap();
    says(mesh, 503, "the Portcullis filter is not there").await;
}

#[cfg(feature = "slow")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_native_gateway_ends_with_its_records_delivered() {
    let options = Options { gateway: portcullis_mesh::Target::Native, ..Options::default() };
    let mut mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    says(&mesh, 200, "ready").await;
    a_pod_that_ends_has_delivered_every_record(&mut mesh).await;
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_ends_with_its_records_delivered_and_is_ready_only_with_a_snapshot() {
    let stale_after_s = Some(u32::try_from(STALE.as_secs()).unwrap());
    let options = Options { private_manifests: true, stale_after_s, ..Options::default() };
    let mut mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    says(&mesh, 200, "ready").await;
    a_pod_that_ends_has_delivered_every_record(&mut mesh).await;
    a_pod_is_ready_while_its_filter_has_a_snapshot(&mut mesh).await;
    mesh.stop().await;
}
