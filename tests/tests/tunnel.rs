//! A tunnel whose agent hangs: its connections stay, and nobody answers on them.

use std::time::{Duration, Instant};

use portcullis_mesh::http::{Request, Response};
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, ONPREM, Options, TENANT, Target};
use serde_json::{Value, json};

/// Until when the tunnel must be out of rotation, and for how long a request may wait in it.
const BOUND: Duration = Duration::from_secs(5);

/// How long a refusal takes once it is.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A request of a person of the tenant to a cluster.
fn to(mesh: &Mesh, cluster: &str) -> Request {
    let extra = json!({"client_id": CLIENT_PEOPLE});
    let token = mesh.idp().sign(Algorithm::Rs256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    mesh.get("/tables").header(SELECTOR, cluster).bearer(&token)
}

fn assert_unreachable(answer: &Response) {
    let told = (answer.status, answer.header("x-portcullis-reason"), answer.header("retry-after"));
    assert_eq!(told, (503, "cluster_unreachable", "10"), "{}", answer.text());
}

/// What the gateway recorded of the requests that were refused for want of an answer.
async fn unreachable_records(mesh: &Mesh, count: usize) -> Vec<Value> {
    wait::until("audit records", &mesh.log("control"), async || {
        let mut found = mesh.admin()?.audit("limit=1000").await?;
        found.retain(|r| r["reason"] == "cluster_unreachable");
        Ok(if found.len() >= count { Seen::Done(found) } else { Seen::NotYet(format!("{found:?}")) })
    })
    .await
    .unwrap()
}

/// Requests that are under way when the agent stops, and those after them.
async fn while_it_hangs(mesh: &Mesh) {
    assert!(mesh.pause("tunnel-agent"));
    let stopped = Instant::now();
    let mut refused = 0;
    while stopped.elapsed() < BOUND + Duration::from_secs(2) {
        let asked = stopped.elapsed();
        let answer = to(mesh, ONPREM).send().await.unwrap();
        println!(
            "{} ms after the agent stopped: {} in {:?}",
            asked.as_millis(),
            answer.status,
            answer.elapsed
        );
        assert_unreachable(&answer);
        let most = if asked < BOUND { BOUND } else { AT_ONCE };
        assert!(answer.elapsed < most, "{:?}", answer.elapsed);
        refused += 1;
        let elsewhere = to(mesh, HOSTED).send().await.unwrap();
        assert_eq!(elsewhere.status, 200, "another cluster is not touched: {}", elsewhere.text());
        assert!(elsewhere.elapsed < AT_ONCE, "{:?}", elsewhere.elapsed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let grpc = to(mesh, ONPREM).header("content-type", "application/grpc").send().await.unwrap();
    let told = (grpc.status, grpc.header("grpc-status"), grpc.header("x-portcullis-reason"));
    assert_eq!(told, (200, "14", "cluster_unreachable"), "{}", grpc.text());
    let records = unreachable_records(mesh, refused + 1).await;
    assert_eq!(records.len(), refused + 1);
    for record in records {
        let told =
            ["decision", "stage", "cluster", "subject"].map(|name| record[name].as_str().unwrap_or_default());
        assert_eq!(told, ["end", "cluster-status", ONPREM, "ann@acme.example"], "{record}");
    }
}

async fn a_tunnel_that_hangs(gateway: Target) {
    let options = Options { gateway, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    assert_eq!(to(&mesh, ONPREM).send().await.unwrap().status, 200);
    while_it_hangs(&mesh).await;
    assert!(mesh.unpause("tunnel-agent"));
    let resumed = Instant::now();
    wait::until("the tunnel", &mesh.log("tunnel-agent"), async || {
        let answer = to(&mesh, ONPREM).send().await?;
        Ok(if answer.status == 200 { Seen::Done(()) } else { Seen::NotYet(answer.text()) })
    })
    .await
    .unwrap();
    println!("it works again {} ms after the agent went on", resumed.elapsed().as_millis());
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_hangs_is_out_of_rotation_in_five_seconds() {
    a_tunnel_that_hangs(Target::Wasm).await;
}

#[cfg(feature = "slow")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_hangs_is_out_of_rotation_behind_a_native_gateway() {
    a_tunnel_that_hangs(Target::Native).await;
}
