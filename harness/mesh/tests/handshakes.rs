//! Which TLS a client and a workload may speak (B25): the public port as `components/public-tls` has it, and the mesh inside.

mod hello;

use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_mesh::http::Request;
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{Mesh, Options};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, RootCertStore};

use hello::{ALERT, BEST_OF_1_2, Offer, PROTOCOL_VERSION, TLS_1_2, answer_to};

const NAMES: [&str; 2] =
    ["api.alfred-platform.example.com", "acme-hosted.clusters.alfred-platform.example.com"];

/// An alert, and what is none (RFC 8446 §5.1, §6.2).
const HANDSHAKE_FAILURE: u8 = 40;
const HANDSHAKE: u8 = 22;

/// What B25 wants: AES-GCM or ChaCha20, and forward secrecy.
const INSIDE: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
];

/// Opens the public port in this mesh's own copy of the overlay; at 8443, which needs no privilege.
async fn open(mesh: &Mesh) {
    let overlay = Overlay::local(mesh.manifests());
    overlay.edit_list("components", |list| list.push("../../components/public-tls".into())).unwrap();
    let address = mesh.plan().ingress_tls();
    let operations = json!([
        {"op": "replace", "path": "/spec/servers/2/port/number", "value": address.port()},
        {"op": "add", "path": "/spec/servers/2/bind", "value": address.ip().to_string()},
        {"op": "replace", "path": "/spec/servers/2/hosts", "value": [NAMES[0], "*.clusters.alfred-platform.example.com"]},
    ]);
    let patch = json!({"target": {"kind": "Gateway", "name": "ingress"}, "patch": operations.to_string()});
    overlay.edit_list("patches", |patches| patches.push(patch)).unwrap();
    mesh.apply().await.unwrap();
    wait::until("the public port", &mesh.log("ingressgateway"), async || {
        Ok(match TcpStream::connect(address).await {
            Ok(_) => Seen::Done(()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await
    .unwrap();
}

/// Has the public port want the PROXY protocol, as `components/proxy-protocol` does.
async fn behind_a_load_balancer(mesh: &Mesh) {
    let overlay = Overlay::local(mesh.manifests());
    // Whom its policies let come; here there is nobody who would enforce them.
    let local = json!({"config.kubernetes.io/local-config": "true"});
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"proxyCidr": "127.0.0.1/32"},
        "metadata": {"name": "settings", "annotations": local}});
    overlay.write("settings.yaml", &settings).unwrap();
    overlay.edit_list("resources", |list| list.push("settings.yaml".into())).unwrap();
    overlay.edit_list("components", |list| list.push("../../components/proxy-protocol".into())).unwrap();
    let operations = json!([
        {"op": "replace", "path": "/metadata/namespace", "value": "istio-system"},
        {"op": "replace", "path": "/spec/configPatches/0/match/listener/portNumber",
            "value": mesh.plan().ingress_tls().port()},
    ]);
    let target = json!({"kind": "EnvoyFilter", "name": "proxy-protocol"});
    let patch = json!({"target": target, "patch": operations.to_string()});
    overlay.edit_list("patches", |patches| patches.push(patch)).unwrap();
    mesh.apply().await.unwrap();
}

async fn tls_1_3(mesh: &Mesh, name: &'static str) -> Result<ProtocolVersion, String> {
    tls_1_3_after(mesh, name, "").await
}

async fn tls_1_3_after(mesh: &Mesh, name: &'static str, before: &str) -> Result<ProtocolVersion, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(mesh.clients_root().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut stream = TcpStream::connect(mesh.plan().ingress_tls()).await.unwrap();
    stream.write_all(before.as_bytes()).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map(|tls| tls.get_ref().1.protocol_version().unwrap()).map_err(|error| error.to_string())
}

/// What nobody may be answered by, inside either.
const FORBIDDEN: [(&str, Offer, u8); 4] = [
    // ECDHE-ECDSA-AES128-SHA, ECDHE-RSA-AES128-SHA
    ("TLS 1.0", Offer { version: [3, 1], ciphers: &[0xc0, 0x09, 0xc0, 0x13] }, PROTOCOL_VERSION),
    ("TLS 1.1", Offer { version: [3, 2], ciphers: &[0xc0, 0x09, 0xc0, 0x13] }, PROTOCOL_VERSION),
    // AES128-GCM-SHA256, AES256-GCM-SHA384
    ("no forward secrecy", Offer { version: TLS_1_2, ciphers: &[0x00, 0x9c, 0x00, 0x9d] }, HANDSHAKE_FAILURE),
    // ECDHE-ECDSA-AES128-SHA, ECDHE-RSA-AES256-SHA, ECDHE-ECDSA-AES128-SHA256
    ("CBC", Offer { version: TLS_1_2, ciphers: &[0xc0, 0x09, 0xc0, 0x14, 0xc0, 0x23] }, HANDSHAKE_FAILURE),
];

/// The TLS parameters of all listeners of a proxy.
async fn parameters_of_listeners(admin: SocketAddr) -> Vec<Value> {
    let page = Request::get(admin, "/config_dump?resource=dynamic_listeners").send().await.unwrap().json();
    let mut found = Vec::new();
    collect(&page, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            found.extend(fields.get("common_tls_context").map(|context| context["tls_params"].clone()));
            fields.values().for_each(|field| collect(field, found));
        }
        _ => {}
    }
}

/// At every port of the mesh: what is offered decides, before any certificate is asked for.
async fn what_is_forbidden_is_refused_inside(mesh: &Mesh) {
    let plan = mesh.plan();
    for address in [
        plan.ingress_mesh(),
        plan.hosted_sidecar(),
        plan.control_sidecar(),
        plan.platform_sidecar(),
        plan.tunnel_inbound(),
        plan.onprem_sidecar(),
    ] {
        let (record, _) = answer_to(address, &BEST_OF_1_2, None).await;
        assert_eq!(record, HANDSHAKE, "TLS 1.2 with forward secrecy at {address}");
        for (what, offer, alert) in &FORBIDDEN {
            assert_eq!(answer_to(address, offer, None).await, (ALERT, *alert), "{what} at {address}");
        }
    }
}

#[tokio::test]
async fn the_public_port_speaks_tls_1_3_alone_and_the_mesh_nothing_without_forward_secrecy() {
    let options = Options { plugins: false, private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    open(&mesh).await;
    for name in NAMES {
        assert_eq!(tls_1_3(&mesh, name).await, Ok(ProtocolVersion::TLSv1_3), "{name}");
        let answer = answer_to(mesh.plan().ingress_tls(), &BEST_OF_1_2, Some(name)).await;
        assert_eq!(answer, (ALERT, PROTOCOL_VERSION), "{name}");
    }
    let stranger = tls_1_3(&mesh, "admin.alfred-platform.example.com").await;
    assert!(stranger.is_err(), "who asks for another name gets no certificate: {stranger:?}");

    // Where data clusters dial in is as public.
    let answer = answer_to(mesh.plan().tunnel_accept(), &BEST_OF_1_2, None).await;
    assert_eq!(answer, (ALERT, PROTOCOL_VERSION), "the tunnel gateway");
    what_is_forbidden_is_refused_inside(&mesh).await;
    for admin in [mesh.plan().ingress_admin(), mesh.plan().hosted_admin(), mesh.plan().control_admin()] {
        let all = parameters_of_listeners(admin).await;
        // Istio says nothing of the gateway's port for the mesh, and Envoy's own list has forward secrecy, too.
        let silent = all.iter().filter(|parameters| parameters.is_null()).count();
        assert_eq!(silent, usize::from(admin == mesh.plan().ingress_admin()), "{admin}: {all:?}");
        assert!(all.len() > silent, "{admin}");
        for parameters in all.into_iter().filter(|parameters| !parameters.is_null()) {
            let ciphers: Vec<_> = parameters["cipher_suites"].as_array().into_iter().flatten().collect();
            assert_eq!(ciphers, INSIDE, "{admin}: {parameters}");
            let least = parameters["tls_minimum_protocol_version"].as_str().unwrap_or_default();
            assert!(["TLSv1_2", "TLSv1_3"].contains(&least), "{admin}: {parameters}");
        }
    }
    mesh.stop().await;
}

/// B2.
#[tokio::test]
async fn behind_a_load_balancer_nobody_comes_without_the_proxy_protocol() {
    let options = Options { plugins: false, private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    open(&mesh).await;
    assert_eq!(tls_1_3(&mesh, NAMES[0]).await, Ok(ProtocolVersion::TLSv1_3));
    behind_a_load_balancer(&mesh).await;
    let told = "PROXY TCP4 203.0.113.7 203.0.113.1 40000 443\r\n";
    wait::until("the PROXY protocol", &mesh.log("ingressgateway"), async || {
        Ok(match tls_1_3_after(&mesh, NAMES[0], told).await {
            Ok(_) => Seen::Done(()),
            Err(error) => Seen::NotYet(error),
        })
    })
    .await
    .unwrap();
    let refused = tls_1_3(&mesh, NAMES[0]).await;
    assert!(refused.is_err(), "a client that tells no address: {refused:?}");
    mesh.stop().await;
}
