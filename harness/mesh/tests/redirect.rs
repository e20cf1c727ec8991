//! `components/https-redirect`: at its port there is the redirect, and nothing else.

use std::net::SocketAddr;

use portcullis_mesh::http::Request;
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{HOSTED, Mesh, Options};
use serde_json::json;

/// Opens the port in this mesh's own copy of the overlay: at 8081, which needs no privilege, and beside the gateway of the
/// local mesh.
async fn open(mesh: &Mesh) -> SocketAddr {
    let address = SocketAddr::new(mesh.plan().ingress().ip(), 8081);
    let overlay = Overlay::local(mesh.manifests());
    overlay.edit_list("components", |list| list.push("../../components/https-redirect".into())).unwrap();
    let here = json!({"op": "replace", "path": "/metadata/namespace", "value": "istio-system"});
    let gateway = json!([
        here,
        {"op": "replace", "path": "/spec/servers/0/port/number", "value": address.port()},
        {"op": "add", "path": "/spec/servers/0/bind", "value": address.ip().to_string()},
    ]);
    let policy = json!([
        here,
        {"op": "replace", "path": "/spec/rules/0/to/0/operation/ports/0", "value": address.port().to_string()},
    ]);
    overlay
        .edit_list("patches", |patches| {
            for (kind, operations) in [("Gateway", gateway), ("AuthorizationPolicy", policy)] {
                let target = json!({"kind": kind, "name": "https-redirect"});
                patches.push(json!({"target": target, "patch": operations.to_string()}));
            }
            let network = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: \
                           allow-https-redirect\n  namespace: alfred-platform\n$patch: delete\n";
            patches.push(json!({"patch": network}));
        })
        .unwrap();
    mesh.apply().await.unwrap();
    address
}

#[tokio::test]
async fn plain_http_is_answered_by_a_redirect_whatever_it_asks_for() {
    let options = Options { plugins: false, private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let address = open(&mesh).await;
    let first = Request::get(address, "/tables?a=b").header("host", "api.alfred-platform.example.com");
    wait::until("the redirect", &mesh.log("ingressgateway"), async || {
        Ok(match first.send().await {
            Ok(answer) if answer.status == 301 => Seen::Done(()),
            Ok(other) => Seen::NotYet(format!("{} {}", other.status, other.text())),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await
    .unwrap();
    for path in ["/tables?a=b", "/oauth2/jwks", "/-/portcullis/ready"] {
        let request = first
            .clone()
            .at(path)
            .header("x-portcullis-cluster", HOSTED)
            .header("x-portcullis-source-type", "human");
        let answer = request.send().await.unwrap();
        let to = answer.header("location").to_owned();
        assert_eq!((answer.status, to), (301, format!("https://api.alfred-platform.example.com{path}")));
    }
    mesh.stop().await;
}
