//! A real NGINX in front of the gateway (B2), as `docs/install.md` has it: it passes TLS through by the name that is asked for, and
//! tells the client's address. Needs the system's NGINX with its stream module: `make test-full`.
#![cfg(feature = "slow")]

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::process::Process;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, HOSTED, Mesh, Options, TENANT, paths};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const CLUSTER: &str = "acme-hosted.clusters.alfred-platform.example.com";

/// Opens 8443 beside 8080 in this mesh's own copy of the overlay, for who speaks the PROXY protocol before TLS.
async fn open(mesh: &Mesh) {
    let overlay = Overlay::local(mesh.manifests());
    let local = json!({"config.kubernetes.io/local-config": "true"});
    // Whom policies of a cluster let come; here there is nobody who would enforce them.
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"proxyCidr": "127.0.0.1/32"},
        "metadata": {"name": "settings", "annotations": local}});
    overlay.write("settings.yaml", &settings).unwrap();
    overlay.edit_list("resources", |list| list.push("settings.yaml".into())).unwrap();
    overlay
        .edit_list("components", |list| {
            list.extend(["../../components/client-tls".into(), "../../components/proxy-protocol".into()]);
        })
        .unwrap();
    let address = mesh.plan().ingress_tls();
    let bind = json!([{"op": "add", "path": "/spec/servers/2/bind", "value": address.ip().to_string()}]);
    let listener = json!([
        {"op": "replace", "path": "/metadata/namespace", "value": "istio-system"},
        {"op": "replace", "path": "/spec/configPatches/0/match/listener/portNumber", "value": address.port()},
    ]);
    overlay
        .edit_list("patches", |patches| {
            for (kind, name, operations) in
                [("Gateway", "ingress", bind), ("EnvoyFilter", "proxy-protocol", listener)]
            {
                let target = json!({"kind": kind, "name": name});
                patches.push(json!({"target": target, "patch": operations.to_string()}));
            }
        })
        .unwrap();
    mesh.apply().await.unwrap();
}

/// The program, and the folder of its modules beside it.
fn installed() -> (PathBuf, PathBuf) {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| (folder.join("nginx"), folder.join("../lib/nginx/modules/ngx_stream_module.so")))
        .find(|(program, module)| program.is_file() && module.is_file());
    found.expect("NGINX and its stream module are missing (Debian: apt install nginx libnginx-mod-stream)")
}

/// The documented configuration, at this address and before this gateway.
fn start(mesh: &Mesh, at: SocketAddr, folder: &Path) -> Process {
    let page = std::fs::read_to_string(paths::root().join("docs/install.md")).unwrap();
    let mut text = page.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    for (there, here) in [
        ("listen 443;", format!("listen {at};")),
        (
            "server api-gateway.alfred-platform.svc.cluster.local:443;",
            format!("server {};", mesh.plan().ingress_tls()),
        ),
    ] {
        assert!(text.contains(there), "{there}: {text}");
        text = text.replace(there, &here);
    }
    let (program, module) = installed();
    let (log, pid) = (folder.join("nginx.log"), folder.join("nginx.pid"));
    let own = format!(
        "load_module {};\npid {};\nerror_log {} info;\ndaemon off;\nmaster_process off;\nevents {{}}\n",
        module.canonicalize().unwrap().display(),
        pid.display(),
        log.display()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, own + &text).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(&file).arg("-e").arg(&log);
    Process::start("nginx", command, &log).unwrap()
}

/// TLS through NGINX to whoever proves this name, from this address.
async fn connect(
    mesh: &Mesh,
    to: SocketAddr,
    name: &'static str,
    from: IpAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(mesh.clients_root().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(to).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await
}

async fn asks(mesh: &Mesh, to: SocketAddr, from: IpAddr, id: &str) -> std::io::Result<String> {
    let extra = json!({"client_id": CLIENT_PEOPLE});
    let token = mesh.idp().sign(Algorithm::Rs256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
    let mut tls = connect(mesh, to, CLUSTER, from).await?;
    let head = format!(
        "GET /tables/{id} HTTP/1.1\r\nhost: {CLUSTER}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    tls.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    // Not every peer says goodbye.
    let _ = tls.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_tls_ends_at_the_gateway_and_records_have_the_address_of_the_client() {
    let options = Options { private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    open(&mesh).await;
    let folder = tempfile::tempdir().unwrap();
    let (at, client) = (mesh.plan().spare(1, 8443), mesh.plan().spare(9, 1).ip());
    let mut nginx = start(&mesh, at, folder.path());
    let answer = nginx
        .until("an answer through NGINX", async || {
            Ok(match asks(&mesh, at, client, "first").await {
                Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Seen::Done(answer),
                other => Seen::NotYet(format!("{other:?}")),
            })
        })
        .await
        .unwrap();
    assert!(answer.contains(&format!("\"cluster\":\"{HOSTED}\"")), "{answer}");
    let recorded = wait::until("the record", &mesh.log("control"), async || {
        let mut found = mesh.admin()?.audit("limit=1000").await?;
        found.retain(|record| record["path"] == "/tables/first" && record["decision"] == "allow");
        Ok(found.pop().map_or_else(|| Seen::NotYet("none yet".to_owned()), Seen::Done))
    })
    .await
    .unwrap();
    let address: SocketAddr = recorded["client_address"].as_str().unwrap().parse().unwrap();
    assert_eq!(address.ip(), client, "{recorded}");
    // Who asks for another name is not connected on, and meets no TLS.
    let stranger = connect(&mesh, at, "other.alfred-platform.example.com", client).await;
    assert!(stranger.is_err());
    nginx.check().unwrap();
    nginx.stop().await;
    mesh.stop().await;
}
