//! The route of a hosted cluster, as `overlays/dev` has it, in a real gateway.

use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{HOSTED, Mesh, Options};
use serde_json::json;

use crate::rendered::built;

/// Puts what `overlays/dev` has of the cluster in the place of the local mesh's own route. Its one replica is of version 1.
async fn as_in_a_cluster(mesh: &Mesh) {
    let rendered = built("overlays/dev");
    let mut route = rendered.named("VirtualService", HOSTED);
    route["metadata"]["namespace"] = "istio-system".into();
    let mut connections = rendered.named("DestinationRule", "data-api");
    connections["spec"]["exportTo"] = json!(["istio-system"]);
    let overlay = Overlay::local(mesh.manifests());
    overlay.write("hosted-route.yaml", &route).unwrap();
    overlay.write("hosted-connections.yaml", &connections).unwrap();
    overlay
        .edit_list("resources", |list| {
            list.extend(["hosted-route.yaml".into(), "hosted-connections.yaml".into()]);
        })
        .unwrap();
    let own = json!([{"op": "remove", "path": "/spec/http/0"}]);
    let version = json!([{"op": "add", "path": "/spec/endpoints/0/labels/version", "value": "v1"}]);
    overlay
        .edit_list("patches", |patches| {
            let routes = json!({"kind": "VirtualService", "name": "data-clusters"});
            patches.push(json!({"target": routes, "patch": own.to_string()}));
            let replica = json!({"kind": "ServiceEntry", "name": "data-api", "namespace": HOSTED});
            patches.push(json!({"target": replica, "patch": version.to_string()}));
        })
        .unwrap();
    mesh.apply().await.unwrap();
}

/// B6, B11.
#[tokio::test]
async fn a_hosted_cluster_is_reached_by_the_version_that_is_asked_for() {
    let options = Options { plugins: false, private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    as_in_a_cluster(&mesh).await;
    let plain = mesh
        .get("/tables")
        .header("x-portcullis-cluster", HOSTED)
        .header("x-portcullis-source-type", "human");
    let second = plain.clone().header("x-api-version", "2");
    wait::in_a_row("the route by version", &mesh.log("ingressgateway"), async || {
        let status = second.send().await?.status;
        Ok(if status == 503 { Seen::Done(()) } else { Seen::NotYet(status.to_string()) })
    })
    .await
    .unwrap();
    for request in [
        plain.clone(),
        plain.clone().header("accept", "text/event-stream"),
        plain.clone().header("content-type", "application/grpc"),
        plain.clone().header("x-api-version", "1"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status, &answer.json()["cluster"]), (200, &HOSTED.into()), "{}", answer.text());
    }
    let stream = second.clone().header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.status, 503, "of version 2 there is no replica: {}", stream.text());
    mesh.stop().await;
}
