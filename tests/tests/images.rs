//! Images as a cluster has them: pushed to a registry by a standard tool, and pulled by the code of Istio's agent. The
//! digest decides.
#![cfg(feature = "slow")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use portcullis_images::{Layout, Module, Origin, filter};
use portcullis_mesh::http::Request;
use portcullis_mesh::process::Process;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{paths, tools};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

fn tool(name: &str) -> Command {
    Command::new(tools::installed_set(&paths::root(), "images").unwrap().join(name))
}

/// A registry on a free port of the loopback address, with the filter in it.
struct Registry {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
    layout: Layout,
    /// The name by which the filter is pinned, as the push told it.
    pinned: String,
}

impl Registry {
    async fn with_the_filter() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let module = Module::read(&paths::wasm_module()).unwrap();
        let layout = filter(&module, &Origin::new("of this test", 1_790_000_000).unwrap()).unwrap();
        layout.write(&folder.path().join("filter")).unwrap();
        let log = folder.path().join("registry.log");
        let mut command = tool("crane");
        command.args(["registry", "serve", "--address", "127.0.0.1:0"]);
        let mut process = Process::start("registry", command, &log).unwrap();
        let port = wait::until("the registry", &log, async || {
            process.check()?;
            let told = fs::read_to_string(&log).unwrap_or_default();
            let port = told.lines().find_map(|line| line.split_once("serving on port ")?.1.parse().ok());
            Ok(port.map_or_else(|| Seen::NotYet(told), Seen::Done))
        })
        .await
        .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let pinned = push(&folder.path().join("filter"), &format!("{address}/portcullis/filter:0.1")).await;
        Self { process, address, folder, layout, pinned }
    }

    /// What the agent makes of a filter whose module has a name.
    async fn converted(&self, module: &str) -> Value {
        let modules = self.folder.path().join("modules");
        fs::create_dir_all(&modules).unwrap();
        let mut agent = tool("agent");
        agent.arg(&modules).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut agent = agent.kill_on_drop(true).spawn().unwrap();
        let extension = extension(module).to_string();
        agent.stdin.take().unwrap().write_all(extension.as_bytes()).await.unwrap();
        let told = agent.wait_with_output().await.unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        serde_json::from_slice(&told.stdout).unwrap()
    }
}

/// Pushes a layout, and returns the name by which it is pinned.
async fn push(layout: &Path, tag: &str) -> String {
    let pushed = tool("crane").arg("push").arg(layout).arg(tag).stdin(Stdio::null()).output().await.unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    String::from_utf8(pushed.stdout).unwrap().trim().to_owned()
}

/// A filter as istiod sends it for a `WasmPlugin` that fails closed: the agent has not pulled its module yet.
fn extension(module: &str) -> Value {
    let digest = module.rsplit_once("@sha256:").unwrap().1;
    let remote = json!({
        "httpUri": {"uri": format!("oci://{module}"), "cluster": "_", "timeout": "30s"},
        "sha256": digest,
    });
    json!({
        "name": "istio-system.portcullis",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "istio-system.portcullis",
                "vmConfig": {"runtime": "envoy.wasm.runtime.v8", "code": {"remote": remote}},
                "failurePolicy": "FAIL_CLOSED",
            },
        },
    })
}

/// The file that Envoy is to load.
fn file(converted: &Value) -> PathBuf {
    let local = &converted["typedConfig"]["config"]["vmConfig"]["code"]["local"]["filename"];
    local.as_str().unwrap_or_else(|| panic!("no file: {converted}")).into()
}

/// Whether Envoy is to deny every request: rules that list nobody who may pass.
fn denies_everything(converted: &Value) -> bool {
    let filter = &converted["typedConfig"];
    filter["@type"] == "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
        && filter["rules"] == json!({})
}

#[tokio::test]
async fn the_digest_that_pins_an_image_is_the_same_in_layout_and_registry() {
    let mut registry = Registry::with_the_filter().await;
    let digest = registry.layout.digest();
    assert_eq!(registry.pinned, format!("{}/portcullis/filter@{digest}", registry.address));
    let manifest = Request::get(registry.address, &format!("/v2/portcullis/filter/manifests/{digest}"))
        .send()
        .await
        .unwrap();
    assert_eq!(manifest.status, 200);
    // The image of the control service is an index, and goes the same way.
    let control = paths::target().join("images/control");
    let index: Value = serde_json::from_slice(
        &fs::read(control.join("index.json")).expect("the control service's image: run `make image`"),
    )
    .unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let pinned = push(&control, &format!("{}/portcullis/control:0.1", registry.address)).await;
    assert_eq!(pinned, format!("{}/portcullis/control@{digest}", registry.address));
    registry.process.kill().await;
}

#[tokio::test]
async fn istios_agent_pulls_the_right_digest_and_denies_everything_for_a_wrong_one() {
    let mut registry = Registry::with_the_filter().await;
    let right = registry.pinned.clone();
    let pulled = file(&registry.converted(&right).await);
    assert_eq!(fs::read(pulled).unwrap(), fs::read(paths::wasm_module()).unwrap());

    let wrong = right.replace(&registry.layout.digest()[..15], "sha256:01234567");
    assert_ne!(wrong, right);
    let denied = registry.converted(&wrong).await;
    assert!(denies_everything(&denied), "{denied}");
    registry.process.kill().await;
    // Of another repository, so that nothing was pulled before.
    let unreachable = registry.converted(&right.replace("portcullis/filter", "portcullis/other")).await;
    assert!(denies_everything(&unreachable), "{unreachable}");
}
