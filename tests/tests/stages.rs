//! The four stages as four `WasmPlugin`s, translated by istiod and chained by Envoy.

use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::scenario::{SELECTOR, Scenario};
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, FOREIGN, HOSTED, Mesh, ONPREM, Options, Result, TENANT, Target};
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
    four_do_what_one_does(Target::Wasm).await;
}

#[cfg(feature = "slow")]
#[tokio::test]
async fn four_native_filters_do_what_one_does() {
    four_do_what_one_does(Target::Native).await;
}

async fn four_do_what_one_does(gateway: Target) {
    let options = Options { gateway, ..Scenario::options() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
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
        let record = recorded(&mesh, &id).await.unwrap();
        assert_eq!(
            (&record["hop"], &record["stage"], &record["reason"]),
            (&json!("audit"), &json!(stage), &json!(reason))
        );
    }
    mesh.stop().await;
}

/// Waits until the requests of all workers are recorded by the plugin of the audit stage.
async fn served_by_the_chain(mesh: &Mesh) {
    wait::in_a_row("the four plugins", &mesh.log("ingressgateway"), async || {
        let answer = mesh.get("/tables").header(SELECTOR, HOSTED).send().await?;
        let Some(id) = answer.json()["request_id"].as_str().map(ToOwned::to_owned) else {
            return Ok(Seen::NotYet(answer.text()));
        };
        let record = recorded(mesh, &id).await?;
        Ok(if record["hop"] == "audit" { Seen::Done(()) } else { Seen::NotYet(record.to_string()) })
    })
    .await
    .unwrap();
}

/// The audit record of a request, as soon as it is stored.
async fn recorded(mesh: &Mesh, id: &str) -> Result<Value> {
    wait::until("an audit record", &mesh.log("control"), async || {
        let found = mesh.admin()?.audit(&format!("request_id={id}")).await?;
        Ok(found.into_iter().next().map_or_else(|| Seen::NotYet(format!("none of {id}")), Seen::Done))
    })
    .await
}
