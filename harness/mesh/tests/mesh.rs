//! The mesh itself, without the filters: both data paths, and what must not get through.

use std::net::SocketAddr;

use portcullis_mesh::http::{Request, Response};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::pki::Workload;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{HOSTED, Impostor, Mesh, ONPREM, Options, Result};
use serde_json::json;

async fn get(mesh: &Mesh, cluster: &str) -> Result<Response> {
    mesh.get("/tables")
        .header("x-portcullis-cluster", cluster)
        .header("x-portcullis-source-type", "human")
        .send()
        .await
}

async fn reached(mesh: &Mesh, cluster: &str) {
    let response = get(mesh, cluster).await.unwrap();
    assert_eq!((response.status, &response.json()["cluster"]), (200, &cluster.into()), "{}", response.text());
}

#[tokio::test]
async fn both_data_paths_work_and_nothing_else_does() {
    let options = Options { plugins: false, private_manifests: true, ..Options::default() };
    let mut mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    reached(&mesh, HOSTED).await;
    reached(&mesh, ONPREM).await;
    assert_eq!(get(&mesh, "unknown").await.unwrap().status, 404);

    let untagged = mesh.get("/tables").header("x-portcullis-cluster", HOSTED).send().await.unwrap();
    assert_eq!(untagged.status, 403, "a request without a source type passes no policy");

    for sidecar in [mesh.plan().hosted_sidecar(), mesh.plan().onprem_sidecar(), mesh.plan().tunnel_inbound()]
    {
        let plaintext = Request::get(sidecar, "/tables").send().await.unwrap_err().to_string();
        assert!(plaintext.contains("cut off"), "{plaintext}");
    }
    only_the_gateway_may_call(&mesh).await;
    impostors_are_refused(&mut mesh).await;
    a_further_port_lets_nobody_in(&mesh).await;
    mesh.stop().await;
}

/// Another workload of the mesh has a certificate as good as the gateway's, and is let in nowhere (A12).
async fn only_the_gateway_may_call(mesh: &Mesh) {
    let plan = mesh.plan();
    for (address, cluster) in [(plan.hosted_sidecar(), HOSTED), (plan.tunnel_inbound(), ONPREM)] {
        let request = Request::get(address, "/tables").header("x-portcullis-cluster", cluster);
        let as_workload = async |workload| {
            let answer = request.clone().over(&mesh.tls_of(workload).unwrap()).send().await.unwrap();
            (answer.status, answer.text())
        };
        let (status, text) = as_workload(Workload::INGRESS).await;
        assert_eq!(status, 200, "the gateway at {cluster}: {text}");
        for other in [Workload::CONTROL, Workload::HOSTED, Workload::TUNNEL, Workload::RUNNER] {
            let (status, text) = as_workload(other).await;
            assert_eq!((status, text.as_str()), (403, "RBAC: access denied"), "{other:?} at {cluster}");
        }
        let forged = request.clone().over(&mesh.forged_tls_of(Workload::INGRESS).unwrap()).send().await;
        let forged = forged.unwrap_err().to_string();
        assert!(forged.contains("cut off"), "the gateway's name, of another authority: {forged}");
    }
}

/// A server that somebody adds to the `Gateway`, at a port that no plugin and no policy knows.
async fn a_further_port_lets_nobody_in(mesh: &Mesh) {
    let server = json!({"port": {"number": 8090, "name": "http-more", "protocol": "HTTP"}, "hosts": ["*"],
        "bind": mesh.plan().ingress().ip().to_string()});
    let operations = json!([{"op": "add", "path": "/spec/servers/-", "value": server}]);
    let patch = json!({"target": {"kind": "Gateway", "name": "ingress"}, "patch": operations.to_string()});
    Overlay::local(mesh.manifests()).edit_list("patches", |patches| patches.push(patch)).unwrap();
    mesh.apply().await.unwrap();
    let request = Request::get(SocketAddr::new(mesh.plan().ingress().ip(), 8090), "/tables")
        .header("x-portcullis-cluster", HOSTED)
        .header("x-portcullis-source-type", "human");
    let answered = async || Ok(Seen::from(request.send().await.map_err(Into::into)));
    let answer = wait::until("the further port", &mesh.log("ingressgateway"), answered).await.unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("RBAC"), "{}", answer.text());
    reached(mesh, HOSTED).await;
}

async fn impostors_are_refused(mesh: &mut Mesh) {
    assert!(mesh.kill("tunnel-agent").await);
    wait::in_a_row("the end of the tunnel", &mesh.log("tunnel-gateway"), async || {
        let status = get(mesh, ONPREM).await?.status;
        Ok(if status == 503 { Seen::Done(()) } else { Seen::NotYet(status.to_string()) })
    })
    .await
    .unwrap();
    let by_cluster = Impostor { certificate: "evil", node_id: "evil", cluster_id: ONPREM };
    let by_node = Impostor { certificate: "evil", node_id: ONPREM, cluster_id: "evil" };
    for impostor in [by_cluster, by_node] {
        mesh.refuses_impostor(impostor).await.unwrap();
        assert_eq!(get(mesh, ONPREM).await.unwrap().status, 503, "{impostor:?}");
        mesh.stop_impostors().await;
    }
    mesh.start_tunnel().await.unwrap();
    reached(mesh, ONPREM).await;
}
