//! Runs a block of commands as it is printed, beside a service that has what the pages speak of.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use portcullis_mesh::kubernetes::Kubectl;
use portcullis_mesh::paths::root;
use portcullis_mesh::{overlay, tools};
use serde_json::json;

use super::pages::Block;
use crate::common::{Server, text};

/// A step that is known not to be everywhere (3) and a credential that would be refused (4) are answers, too.
const PRELUDE: &str = "set -euo pipefail
portcullis() { local code=0; command portcullis \"$@\" || code=$?; case $code in 3|4) ;; *) return $code;; esac; }
";

/// No controller brings a pod up, so what waits for one looks once. In a namespace that is not there nothing is found, and
/// nothing with a label that nobody has: that is no error of `kubectl`'s, and one of the page.
const KUBECTL: &str = r#"
kubectl() {
  local words=("$@")
  case " $* " in *" rollout status "*) words+=(--watch=false);; esac
  if [ "$1" = -n ]; then command kubectl get namespace "$2" > /dev/null; fi
  if [[ " $* " =~ " -l "([^ ]+) ]]; then
    [ -n "$(command kubectl -n "$2" get pods -l "${BASH_REMATCH[1]}" -o name)" ] ||
      { echo "no pod of $2 has the label ${BASH_REMATCH[1]}" >&2; return 1; }
  fi
  command kubectl "${words[@]}"
}
"#;

/// Programs beside ours.
pub(crate) struct Around {
    pub(crate) kustomize: PathBuf,
    /// Where a block asks for a cluster.
    pub(crate) kubectl: Option<Kubectl>,
}

/// Runs a block; what it prints, if anything of it fails.
pub(crate) async fn run(block: &Block, around: &Around) -> Result<(), String> {
    let server = Server::start_with(|config| {
        config["listeners"]["agents"] = json!("127.0.0.1:0");
        config["agents"] = json!({"serverNames": ["agents.portcullis.test"]});
        config["serviceTokens"] =
            json!({"issuer": "https://portcullis.example.com", "audiences": ["portcullis"]});
    })
    .await;
    let folder = server.folder.path().to_owned();
    let key = given(&server, &block.text).await;
    fs::write(folder.join("credential"), text(&key["key"])).unwrap();
    fs::create_dir(folder.join("backup")).unwrap();
    filled_overlays(&folder.join("manifests"));
    let applied =
        if around.kubectl.is_some() { folder.join("manifests") } else { root().join("istio-manifests") };
    symlink(applied, folder.join("istio-manifests")).unwrap();
    // Steps before have made them.
    for file in ["token", "sealing.key", "ca.pem", "users.acl"].map(|name| folder.join(name)) {
        if around.kubectl.is_some() && !file.exists() {
            fs::write(file, "made before").unwrap();
        }
    }
    let script = as_here(&block.text, &text(&key["api_key"]["id"]));
    let output = bash(&server, &folder, &script, around);
    let [told, beside] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}:\n{script}\n{told}\n{beside}", block.place))
    }
}

/// What the pages take for granted, but for what the block makes itself.
async fn given(server: &Server, block: &str) -> serde_json::Value {
    for cluster in ["acme-hosted", "acme-onprem"] {
        if !block.contains(&["clusters register ", cluster].concat()) {
            server.register(cluster).await;
        }
    }
    if !block.contains("token create svc-batch") {
        let client = json!({"id": "svc-batch", "tenant": "acme", "roles": ["reader"]});
        server.expect(201, reqwest::Method::POST, "/v1/service-clients", Some(client)).await;
    }
    server.create_key("nightly-batch").await
}

/// Overlays whose operator has decided what is open.
pub(crate) fn filled_overlays(copy: &Path) {
    overlay::copy(&root().join("istio-manifests"), copy).unwrap();
    let mut files = Vec::new();
    super::pages::files(copy, &mut files);
    for settings in files.iter().filter(|file| file.ends_with("settings.yaml")) {
        let text = fs::read_to_string(settings).unwrap();
        fs::write(settings, overlay::with_examples(&text)).unwrap();
    }
}

/// What a page leaves to the reader, filled in.
fn as_here(block: &str, key: &str) -> String {
    let filled = [
        ("0f1e2d3c4b5a6978", key),
        ("kustomize build DIR", "kustomize build manifests/overlays/prod"),
        ("--file FILE", "--file backup/file"),
        ("/backup/", "backup/"),
        ("$(date +%F-%H%M)", "2026-01-31-0400"),
        ("--after 181442", "--after 0"),
        ("sid:08a5…", "sid:08a5"),
        ("< token", "< credential"),
        // The service of this test has a file; others try the server.
        ("export DATABASE_URL=", "unused="),
        ("-n NAMESPACE ", "-n portcullis "),
    ];
    filled.into_iter().fold(block.to_owned(), |text, (printed, here)| text.replace(printed, here))
}

fn bash(server: &Server, folder: &Path, script: &str, around: &Around) -> Output {
    let programs = [Path::new(env!("CARGO_BIN_EXE_portcullis")), &around.kustomize];
    let programs = programs.into_iter().chain(around.kubectl.as_ref().map(Kubectl::program));
    let folders = programs.map(|program| program.parent().unwrap().to_owned());
    let before = std::env::var_os("PATH").unwrap();
    let path = folders.chain(std::env::split_paths(&before));
    let kubectl = around.kubectl.as_ref().map(|_| KUBECTL).unwrap_or_default();
    Command::new("bash")
        .args(["-c", &[PRELUDE, kubectl, script].concat()])
        .envs(around.kubectl.iter().flat_map(Kubectl::environment))
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("PORTCULLIS_SERVER", server.url("platform", ""))
        .env("PORTCULLIS_TOKEN", &server.admin)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The pinned kustomize.
pub(crate) fn kustomize() -> PathBuf {
    tools::install(&root(), None, &mut |line| eprintln!("{line}")).unwrap().kustomize
}
