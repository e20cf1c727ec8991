//! Each stage of the filter as the only plugin, by its own root id.

use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::scenario::{SELECTOR, Scenario};
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, TENANT};
use serde_json::json;

/// Replaces the gateway's plugin by this stage.
async fn run_alone(mesh: &Mesh, stage: &str) {
    let component = format!("../../components/{stage}-plugin");
    Overlay::local(mesh.manifests()).edit_list("components", |list| *list = vec![component.into()]).unwrap();
    mesh.apply().await.unwrap();
}

/// Repeats a request until the status and reason of all workers are as wanted.
async fn eventually(mesh: &Mesh, request: &Request, status: u16, reason: &str) {
    wait::in_a_row("the stage", &mesh.log("ingressgateway"), async || {
        let answer = request.send().await?;
        let seen = (answer.status, answer.header("x-portcullis-reason"));
        Ok(if seen == (status, reason) { Seen::Done(()) } else { Seen::NotYet(format!("{seen:?}")) })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn each_stage_stands_alone() {
    let mesh = Mesh::start(Scenario::options(), &mut |line| eprintln!("{line}")).await.unwrap();
    let token = mesh
        .idp()
        .sign(Algorithm::Es256, &claims("ann", TENANT, &json!({"client_id": CLIENT_PEOPLE})))
        .unwrap();
    let anonymous = mesh.get("/tables").header(SELECTOR, HOSTED);
    let known = anonymous.clone().bearer(&token);

    run_alone(&mesh, "authn").await;
    // Authenticated, but nobody has tagged the source type: the gateway's policy lets nothing of that on.
    eventually(&mesh, &known, 403, "").await;
    eventually(&mesh, &anonymous, 401, "credential_missing").await;

    for stage in ["source-type", "cluster-status"] {
        run_alone(&mesh, stage).await;
        eventually(&mesh, &known, 401, "identity_missing").await;
    }

    run_alone(&mesh, "audit").await;
    let marked = mesh.get("/only-audited").header(SELECTOR, HOSTED);
    eventually(&mesh, &marked, 403, "").await;
    recorded(&mesh, "/only-audited").await;
    mesh.stop().await;
}

/// Waits until the stage has recorded what the policy refused.
async fn recorded(mesh: &Mesh, path: &str) {
    wait::until("an audit record", &mesh.log("control"), async || {
        let records = mesh.admin()?.audit("hop=audit&limit=100").await?;
        let found = records.iter().any(|record| record["path"] == path && record["status"] == 403);
        Ok(if found { Seen::Done(()) } else { Seen::NotYet(format!("{} others", records.len())) })
    })
    .await
    .unwrap();
}
