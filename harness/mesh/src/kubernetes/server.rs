//! etcd and the API server: their command lines, certificates and configuration files.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::process::Command;

use super::programs::Programs;
use crate::block::Plan;
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::pki::{Authority, Leaf, LeafFiles, signing_key, write_private};
use crate::process::Process;
use crate::tls::Tls;
use crate::wait::{Seen, until};

/// Where both find what they need.
struct Files {
    folder: PathBuf,
    root: PathBuf,
    server: LeafFiles,
    /// As which the API server comes to etcd, which lets in nobody else of this machine.
    client: LeafFiles,
    /// The keys of tokens of service accounts: the public one in place of a certificate.
    accounts: LeafFiles,
}

impl Files {
    fn write(folder: &Path, plan: Plan, authority: &Authority) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(MeshError::io("empty", folder))?;
        }
        fs::create_dir_all(folder).map_err(MeshError::io("create", folder))?;
        let root = folder.join("ca.pem");
        write_private(&root, &authority.root())?;
        let (key, certificate) = signing_key("service accounts")?;
        Ok(Self {
            folder: folder.to_owned(),
            root,
            server: authority.at(plan.kubernetes().ip())?.write(folder, "server")?,
            client: authority.user("kube-apiserver", "etcd")?.write(folder, "etcd-client")?,
            accounts: Leaf { certificate, key }.write(folder, "accounts")?,
        })
    }

    fn start(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(name, command, &self.folder.join(name).with_extension("log"))
    }
}

/// Starts both, and waits until the API server is ready. The API server comes first in what is returned.
pub(super) async fn start(
    programs: &Programs,
    plan: Plan,
    folder: &Path,
    authority: &Authority,
) -> Result<[Process; 2]> {
    let files = Files::write(folder, plan, authority)?;
    // The program of etcd has the name of its package.
    let mut etcd = files.start("etcd", etcd(&files, plan, &programs.program("server")))?;
    let mut server =
        files.start("kube-apiserver", api_server(&files, plan, &programs.program("kube-apiserver")))?;
    let tls = Tls::new(&authority.root(), None)?;
    let log = server.log().to_owned();
    until("the Kubernetes API server", &log, async || {
        etcd.check()?;
        server.check()?;
        Ok(match Request::get(plan.kubernetes(), "/readyz").over(&tls).send().await {
            Ok(answer) if answer.status == 200 => Seen::Done(()),
            Ok(answer) => Seen::NotYet(answer.text()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await?;
    Ok([server, etcd])
}

fn etcd(files: &Files, plan: Plan, program: &Path) -> Command {
    let (clients, peers) = (format!("https://{}", plan.etcd()), format!("http://{}", plan.etcd_peers()));
    let mut command = Command::new(program);
    command
        .args(["--name=local", "--log-level=warn", "--unsafe-no-fsync"])
        .arg(format!("--data-dir={}", files.folder.join("etcd").display()))
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--listen-peer-urls={peers}"))
        .arg(format!("--initial-advertise-peer-urls={peers}"))
        .arg(format!("--initial-cluster=local={peers}"))
        .arg("--client-cert-auth")
        .arg(format!("--trusted-ca-file={}", files.root.display()))
        .arg(format!("--cert-file={}", files.server.certificate.display()))
        .arg(format!("--key-file={}", files.server.key.display()));
    command
}

fn api_server(files: &Files, plan: Plan, program: &Path) -> Command {
    let address = plan.kubernetes();
    let mut command = Command::new(program);
    command
        .arg(format!("--etcd-servers=https://{}", plan.etcd()))
        .arg(format!("--etcd-cafile={}", files.root.display()))
        .arg(format!("--etcd-certfile={}", files.client.certificate.display()))
        .arg(format!("--etcd-keyfile={}", files.client.key.display()))
        .arg(format!("--bind-address={}", address.ip()))
        .arg(format!("--advertise-address={}", address.ip()))
        .arg(format!("--secure-port={}", address.port()))
        .arg(format!("--tls-cert-file={}", files.server.certificate.display()))
        .arg(format!("--tls-private-key-file={}", files.server.key.display()))
        .arg(format!("--client-ca-file={}", files.root.display()))
        .arg("--authorization-mode=RBAC")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-account-key-file={}", files.accounts.certificate.display()))
        .arg(format!("--service-account-signing-key-file={}", files.accounts.key.display()))
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        // No pod reaches this one at an address of a Service.
        .arg("--endpoint-reconciler-type=none")
        .arg("--profiling=false");
    command
}

/// A `kubeconfig` for whom a certificate names. The server's is verified.
pub(super) fn kubeconfig(plan: Plan, root: &str, user: &Leaf) -> Value {
    let data = |pem: &str| STANDARD.encode(pem);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {
            "server": format!("https://{}", plan.kubernetes()),
            "certificate-authority-data": data(root),
        }}],
        "users": [{"name": "local", "user": {
            "client-certificate-data": data(&user.certificate),
            "client-key-data": data(&user.key),
        }}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    })
}
