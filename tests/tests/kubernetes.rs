//! istiod in Kubernetes mode: `kubectl` changes what the gateway does, as on a cluster, and what is wrong never gets there.

use std::time::{Duration, Instant};

use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::kubernetes::{Istio, Kubectl};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, Options, TENANT};
use serde_json::{Value, json};

/// How soon a change is in force once the API server has it.
const WITHIN: Duration = Duration::from_secs(1);

/// Changes of each kind. One alone may meet a machine that is busy with something else.
const ROUNDS: usize = 5;

async fn start(istio: Istio) -> Mesh {
    let options = Options { kubernetes: Some(istio), private_manifests: true, ..Options::default() };
    Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap()
}

fn allowed(mesh: &Mesh) -> Request {
    let extra = json!({"client_id": CLIENT_PEOPLE});
    let token = mesh.idp().sign(Algorithm::Rs256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    mesh.get("/tables").header(SELECTOR, HOSTED).bearer(&token)
}

fn deny(path: &str) -> Value {
    json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "frozen", "namespace": "istio-system"},
        "spec": {"selector": {"matchLabels": {"istio": "ingressgateway"}}, "action": "DENY",
            "rules": [{"to": [{"operation": {"paths": [path]}}]}]}})
}

fn kubectl(mesh: &Mesh) -> &Kubectl {
    mesh.kubectl().expect("a mesh with an API server")
}

/// From when the API server has a change until every worker of the gateway answers by it.
async fn in_force(mesh: &Mesh, status: u16) -> Duration {
    let (begun, request) = (Instant::now(), allowed(mesh));
    wait::in_a_row("the gateway", &mesh.log("ingressgateway"), async || {
        let answer = request.send().await?;
        Ok(if answer.status == status { Seen::Done(()) } else { Seen::NotYet(answer.text()) })
    })
    .await
    .unwrap();
    begun.elapsed()
}

async fn changes_are_in_force_at_once(mesh: &Mesh) {
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let apply = |path| kubectl(mesh).apply(&deny(path).to_string()).unwrap().or_failed("apply").unwrap();
        apply("/tables*");
        times[0].push(in_force(mesh, 403).await);
        apply("/elsewhere*");
        times[1].push(in_force(mesh, 200).await);
        apply("/tables*");
        in_force(mesh, 403).await;
        let gone = ["delete", "authorizationpolicy", "frozen", "-n", "istio-system"];
        kubectl(mesh).run(gone).unwrap().or_failed("delete").unwrap();
        times[2].push(in_force(mesh, 200).await);
    }
    for (what, times) in ["applied", "edited", "deleted"].iter().zip(&mut times) {
        times.sort_unstable();
        println!("{what}: {times:?}");
        assert!(times[ROUNDS / 2] < WITHIN, "{what}: {times:?}");
    }
}

/// What istiod would leave out is refused as a whole: what was there before stays.
async fn what_is_wrong_is_refused(mesh: &Mesh) {
    let overlay = Overlay::local(mesh.manifests());
    let mut wrong = deny("tables*");
    overlay.write("frozen.yaml", &wrong).unwrap();
    overlay.edit_list("resources", |all| all.push("frozen.yaml".into())).unwrap();
    let told = mesh.apply().await.unwrap_err().to_string();
    assert!(told.contains("each begins with a slash"), "{told}");
    in_force(mesh, 200).await;
    wrong["spec"]["rules"][0]["to"][0]["operation"]["paths"] = json!(["/tables*"]);
    overlay.write("frozen.yaml", &wrong).unwrap();
    mesh.apply().await.unwrap();
    in_force(mesh, 403).await;
    overlay.edit_list("resources", |all| drop(all.pop())).unwrap();
    mesh.apply().await.unwrap();
    in_force(mesh, 200).await;
}

async fn the_filter_answers(mesh: &Mesh) {
    let nobody = mesh.get("/tables").header(SELECTOR, HOSTED).send().await.unwrap();
    assert_eq!((nobody.status, nobody.header("x-portcullis-reason")), (401, "credential_missing"));
    assert_eq!(allowed(mesh).send().await.unwrap().status, 200);
}

#[tokio::test]
async fn what_kubectl_changes_is_in_force_within_a_second_and_what_is_wrong_is_refused() {
    let mesh = start(Istio::Pinned).await;
    the_filter_answers(&mesh).await;
    what_is_wrong_is_refused(&mesh).await;
    changes_are_in_force_at_once(&mesh).await;
    mesh.stop().await;
}

/// As an operator does it: a kustomization over the finished overlay.
#[cfg(feature = "slow")]
fn replace_plugins(mesh: &Mesh) {
    let overlays = mesh.manifests().join("overlays");
    std::fs::rename(overlays.join("local"), overlays.join("finished")).unwrap();
    std::fs::create_dir(overlays.join("local")).unwrap();
    let over = json!({"resources": ["../finished"], "components": ["../../components/traffic-extension"]});
    Overlay::local(mesh.manifests()).write("kustomization.yaml", &over).unwrap();
}

/// By the successor of the `WasmPlugin`, which Istio has from 1.30 on.
#[cfg(feature = "slow")]
#[tokio::test]
async fn the_newest_istio_does_the_same_and_runs_the_filter_by_a_traffic_extension() {
    let mesh = start(Istio::Next).await;
    the_filter_answers(&mesh).await;
    changes_are_in_force_at_once(&mesh).await;
    replace_plugins(&mesh);
    mesh.apply().await.unwrap();
    let left = kubectl(&mesh).get(["wasmplugins", "-A"]).unwrap();
    let extensions = kubectl(&mesh).get(["trafficextensions", "-A"]).unwrap();
    assert_eq!(
        (left["items"].as_array().unwrap().len(), extensions["items"].as_array().unwrap().len()),
        (0, 2)
    );
    in_force(&mesh, 200).await;
    the_filter_answers(&mesh).await;
    mesh.stop().await;
}
