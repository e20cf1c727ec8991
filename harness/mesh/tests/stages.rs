//! Each stage of the filter as the only plugin, by its own root id.

use std::time::{Duration, Instant};

use portcullis_mesh::control::CLIENT_PEOPLE;
use portcullis_mesh::http::{Request, Response};
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::scenario::{SELECTOR, Scenario};
use portcullis_mesh::{HOSTED, Mesh, TENANT};
use serde_json::json;

/// Replaces the gateway's plugin by this stage.
async fn run_alone(mesh: &Mesh, stage: &str) {
    let component = format!("../../components/{stage}-plugin");
    Overlay::local(mesh.manifests()).edit_list("components", |list| *list = vec![component.into()]).unwrap();
    mesh.apply().await.unwrap();
}

/// Repeats a request until its status and reason are as wanted, or for a minute; returns the last ones.
async fn eventually(request: &Request, status: u16, reason: &str) -> (u16, String) {
    let start = Instant::now();
    loop {
        let response: Response = request.send().await.unwrap();
        let seen = (response.status, response.header("x-portcullis-reason").to_owned());
        if seen == (status, reason.to_owned()) || start.elapsed() > Duration::from_secs(60) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
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
    let by_policy = (403, String::new());

    run_alone(&mesh, "authn").await;
    // Authenticated, but nobody has tagged the source type: the gateway's policy lets nothing of that on.
    assert_eq!(eventually(&known, 403, "").await, by_policy);
    assert_eq!(eventually(&anonymous, 401, "credential_missing").await.0, 401);

    for stage in ["source-type", "cluster-status"] {
        run_alone(&mesh, stage).await;
        let seen = eventually(&known, 401, "identity_missing").await;
        assert_eq!(seen, (401, "identity_missing".to_owned()), "{stage}");
    }

    run_alone(&mesh, "audit").await;
    let marked = mesh.get("/only-audited").header(SELECTOR, HOSTED);
    assert_eq!(eventually(&marked, 403, "").await, by_policy);
    assert!(recorded(&mesh, "/only-audited").await, "the stage records what the policy refused");
    mesh.stop().await;
}

async fn recorded(mesh: &Mesh, path: &str) -> bool {
    for _ in 0..600 {
        let records = mesh.admin().unwrap().audit("hop=audit&limit=100").await.unwrap();
        if records.iter().any(|record| record["path"] == path && record["status"] == 403) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
