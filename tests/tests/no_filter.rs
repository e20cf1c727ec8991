//! A gateway whose filter is not there: what a client writes under our names reaches neither its policy nor its
//! routes, at both of its ports, and the readiness path says what is missing.

use portcullis_mesh::http::Request;
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::pki::Workload;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{HOSTED, Mesh, Options, Target};

/// What the filter would have written for somebody who may pass, in the spellings that Envoy takes.
const FORGED: [[&str; 2]; 3] = [
    ["x-portcullis-source-type", "x-portcullis-cluster"],
    ["X-Portcullis-Source-Type", "X-PORTCULLIS-CLUSTER"],
    ["x_portcullis_source_type", "x-portcullis_cluster"],
];

/// Takes every component of the filter away, and waits until no worker has it any more.
async fn take_filter_away(mesh: &Mesh) {
    Overlay::local(mesh.manifests()).edit_list("components", Vec::clear).unwrap();
    mesh.apply().await.unwrap();
    let ready = mesh.get("/-/portcullis/ready");
    wait::in_a_row("the gateway without the filter", &mesh.log("ingressgateway"), async || {
        let answer = ready.send().await?;
        let (status, text) = (answer.status, answer.text());
        let gone = status == 503 && text == "the Portcullis filter is not there";
        Ok(if gone { Seen::Done(()) } else { Seen::NotYet(format!("{status} {text}")) })
    })
    .await
    .unwrap();
}

async fn forged_headers_pass_nowhere(gateway: Target) {
    let options = Options { private_manifests: true, gateway, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    take_filter_away(&mesh).await;
    let inside =
        Request::get(mesh.plan().ingress_mesh(), "/tables").over(&mesh.tls_of(Workload::HOSTED).unwrap());
    for (port, request) in [("8080", mesh.get("/tables")), ("9443", inside)] {
        for [source_type, cluster] in FORGED {
            let forged = request.clone().header(source_type, "human").header(cluster, HOSTED);
            let answer = forged.send().await.unwrap();
            assert_eq!(answer.status, 403, "{port}, {source_type}: {}", answer.text());
        }
    }
    mesh.stop().await;
}

#[tokio::test]
async fn without_the_filter_forged_headers_pass_nowhere() {
    forged_headers_pass_nowhere(Target::Wasm).await;
}

#[cfg(feature = "slow")]
#[tokio::test]
async fn without_the_native_filter_forged_headers_pass_nowhere() {
    forged_headers_pass_nowhere(Target::Native).await;
}
