//! The four stages as four `WasmPlugin`s, translated by istiod and chained by Envoy.

use std::time::Duration;

use portcullis_mesh::control::CLIENT_PEOPLE;
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::scenario::{SELECTOR, Scenario};
use portcullis_mesh::{FOREIGN, HOSTED, Mesh, ONPREM, TENANT};
use serde_json::{Value, json};

/// Replaces the plugin of all stages by one of each.
async fn one_plugin_each(mesh: &Mesh) {
    let stages = ["authn", "source-type", "cluster-status", "audit"];
    let components = stages.map(|stage| Value::from(format!("../../components/{stage}-plugin")));
    Overlay::local(mesh.manifests()).edit_list("components", |list| *list = components.to_vec()).unwrap();
    mesh.apply().await.unwrap();
}

#[tokio::test]
async fn four_plugins_do_what_one_does() {
    let mesh = Mesh::start(Scenario::options(), &mut |line| eprintln!("{line}")).await.unwrap();
    let extra = json!({"client_id": CLIENT_PEOPLE});
    let token = mesh.idp().sign(Algorithm::Rs256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    let to = |mesh: &Mesh, cluster: &str| mesh.get("/tables").header(SELECTOR, cluster).bearer(&token);
    one_plugin_each(&mesh).await;
    served_by_the_chain(&mesh).await;

    for cluster in [HOSTED, ONPREM] {
        let answer = to(&mesh, cluster).header("x-portcullis-subject", "forged").send().await.unwrap();
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["identity"]["subject"]),
            (200, &json!("ann@acme.example")),
            "{body}"
        );
        assert_eq!(body["identity"]["source_type"], "human");
    }
    let refusals = [
        (mesh.get("/tables").header(SELECTOR, HOSTED), 401, "credential_missing", "authn"),
        (to(&mesh, FOREIGN), 404, "cluster_unknown", "cluster-status"),
    ];
    for (request, status, reason, stage) in refusals {
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status, answer.header("x-portcullis-reason")), (status, reason));
        let id = answer.json()["request_id"].as_str().unwrap().to_owned();
        let record = recorded(&mesh, &id).await;
        assert_eq!(
            (&record["hop"], &record["stage"], &record["reason"]),
            (&json!("audit"), &json!(stage), &json!(reason))
        );
    }
    mesh.stop().await;
}

/// Waits until ten requests in a row were recorded by the plugin of the audit stage: workers take new
/// listeners one after the other.
async fn served_by_the_chain(mesh: &Mesh) {
    let mut in_a_row = 0;
    for _ in 0..200 {
        let answer = mesh.get("/tables").header(SELECTOR, HOSTED).send().await.unwrap();
        let id = answer.json()["request_id"].as_str().unwrap_or_default().to_owned();
        let by_the_chain = !id.is_empty() && recorded(mesh, &id).await["hop"] == "audit";
        in_a_row = if by_the_chain { in_a_row + 1 } else { 0 };
        if in_a_row == 10 {
            return;
        }
    }
    panic!("the gateway does not run the four plugins after 200 requests");
}

/// The audit record of a request, as soon as it is stored.
async fn recorded(mesh: &Mesh, id: &str) -> Value {
    for _ in 0..1200 {
        let found = mesh.admin().unwrap().audit(&format!("request_id={id}")).await.unwrap();
        if let Some(record) = found.into_iter().next() {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no audit record of {id} after a minute");
}
