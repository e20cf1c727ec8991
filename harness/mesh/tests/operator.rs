//! `portcullis-mesh` as an operator meets it: what `up` prints and follows, how it ends, and what it says when
//! something is wrong.

mod command;
mod private_manifests;

use std::net::TcpListener;

use portcullis_mesh::block::Block;
use portcullis_mesh::http::Request;
use portcullis_mesh::wait::{self, Seen};
use serde_json::json;

use command::{Mesh, Tool};
use private_manifests::private_manifests;

/// The line after which everything runs.
const RUNNING: &str = "Ctrl-C stops the mesh";

#[tokio::test]
async fn up_serves_what_it_prints_follows_edits_and_stops_cleanly() {
    let manifests = private_manifests();
    let mut mesh = Mesh::up(&manifests);
    let printed = mesh.until(RUNNING);
    let mut statuses = Vec::new();
    for line in printed.iter().filter(|line| line.starts_with("curl -i ")) {
        statuses.push(pasted(line).send().await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 401], "{printed:#?}");

    let overlay = manifests.path().join("overlays/local");
    let routes = overlay.join("routes.yaml");
    let good = std::fs::read_to_string(&routes).unwrap();
    std::fs::write(&routes, "a: [").unwrap();
    let refused = mesh.until("NOT applied").join("\n");
    assert!(refused.contains("routes.yaml"), "{refused}");
    mesh.until("stays in force");
    let edited = good.replace("exact: acme-onprem", "exact: acme-elsewhere");
    let hidden = "  - name: acme-onprem\n    corsPolicy: {allowOrigins: [{exact: https://a.example}]}\n";
    std::fs::write(&routes, edited.replace("  - name: acme-onprem\n", hidden)).unwrap();
    mesh.until("routes.yaml: applied");
    mesh.until("warning: VirtualService istio-system/data-clusters: a corsPolicy has no effect");
    let gone = pasted(printed.iter().find(|line| line.contains("x-target-cluster: acme-onprem")).unwrap());
    wait::in_a_row("the edited route", &overlay, async || {
        let status = gone.send().await?.status;
        Ok(if status == 404 { Seen::Done(()) } else { Seen::NotYet(status.to_string()) })
    })
    .await
    .unwrap();

    let children = mesh.children();
    assert!(children.len() >= 7, "istiod, five Envoys, the control service: {children:?}");
    mesh.signal("INT");
    assert_eq!(mesh.exit_code(), Some(0), "{}", mesh.said());
    children.iter().for_each(command::Child::assert_ended);
}

/// The request of a `curl -i URL -H '…' -H '…'` line.
fn pasted(line: &str) -> Request {
    let url = line.split_whitespace().nth(2).unwrap().strip_prefix("http://").unwrap();
    let (address, path) = url.split_once('/').unwrap();
    let request = Request::get(address.parse().unwrap(), &format!("/{path}"));
    line.split(" -H '").skip(1).fold(request, |request, header| {
        let (name, value) = header.trim_end_matches('\'').split_once(": ").unwrap();
        request.header(name, value)
    })
}

#[test]
fn a_killed_parent_leaves_no_child() {
    let manifests = private_manifests();
    let mut mesh = Mesh::up(&manifests);
    mesh.until(RUNNING);
    let children = mesh.children();
    assert!(children.len() >= 7, "{children:?}");
    mesh.signal("KILL");
    mesh.exit_code();
    children.iter().for_each(command::Child::assert_ended);
}

/// As `make up` runs it: whoever kills make must not be left with a mesh.
#[test]
fn a_mesh_ends_with_the_make_that_runs_it() {
    let manifests = private_manifests();
    let mut make = Mesh::up_under("sh", &manifests);
    make.until(RUNNING);
    let [mesh] = make.children().try_into().unwrap();
    let children = mesh.children();
    assert!(children.len() >= 7, "{children:?}");
    make.signal("KILL");
    mesh.assert_ended();
    children.iter().for_each(command::Child::assert_ended);
}

#[test]
fn a_component_that_dies_is_named_with_its_log() {
    let manifests = private_manifests();
    let mut mesh = Mesh::up(&manifests);
    mesh.until(RUNNING);
    let children = mesh.children();
    let istiod = children.iter().find(|child| child.name.starts_with("pilot-discovery")).unwrap();
    command::kill(istiod.pid, "KILL");
    assert_eq!(mesh.exit_code(), Some(1));
    let said = mesh.said();
    assert!(said.contains("istiod ended unexpectedly") && said.contains("istiod.log"), "{said}");
    children.iter().for_each(command::Child::assert_ended);
}

#[test]
fn a_busy_port_is_named_with_its_holder() {
    let manifests = private_manifests();
    let (ingress, said) = loop {
        let block = Block::take_any().unwrap();
        let plan = block.plan();
        let _held = TcpListener::bind(plan.ingress()).unwrap();
        drop(block);
        let mut mesh = Mesh::up_in(&plan.number().to_string(), &manifests);
        assert_eq!(mesh.exit_code(), Some(1));
        let said = mesh.said();
        // Another mesh may have taken the block meanwhile.
        if !said.contains("the lock of this block") {
            break (plan.ingress(), said);
        }
    };
    for part in [&ingress.to_string(), &format!("(pid {})", std::process::id()), "ingress gateway", "--block"]
    {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn manifests_that_do_not_parse_are_refused_at_the_start() {
    let manifests = private_manifests();
    let file = manifests.path().join("overlays/local/routes.yaml");
    std::fs::write(
        &file,
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "broken", "namespace": "istio-system"}, "spec": {"hosts": []}})
        .to_string(),
    )
    .unwrap();
    let mut mesh = Mesh::up(&manifests);
    assert_eq!(mesh.exit_code(), Some(1));
    let said = mesh.said();
    assert!(said.contains("overlays/local") && said.contains("broken"), "{said}");
}

#[test]
fn a_plugin_that_the_filter_would_refuse_is_not_applied() {
    let manifests = private_manifests();
    let file = manifests.path().join("components/plugin-defaults/defaults.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("mode: enforce", "mode: enforced")).unwrap();
    let mut mesh = Mesh::up(&manifests);
    assert_eq!(mesh.exit_code(), Some(1));
    let said = mesh.said();
    for part in ["istio-system/portcullis-gateway", "spec.pluginConfig.mode", "enforce or dry-run"] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn manifests_that_are_not_there_are_named() {
    let nowhere = tempfile::tempdir().unwrap();
    std::fs::remove_dir(nowhere.path()).unwrap();
    let mut mesh = Mesh::up(&nowhere);
    assert_eq!(mesh.exit_code(), Some(1));
    let said = mesh.said();
    assert!(said.contains(&nowhere.path().display().to_string()), "{said}");
}

#[test]
fn a_missing_go_says_what_to_install() {
    let said = Tool::install().env("PATH", "").fails();
    assert!(said.contains("`go` was not found") && said.contains("Install Go"), "{said}");
}

#[test]
fn no_network_says_what_to_check() {
    let modules = tempfile::tempdir().unwrap();
    let said = Tool::install().env("GOMODCACHE", modules.path()).env("GOPROXY", "http://127.0.0.1:1").fails();
    assert!(said.contains("check the network and GOPROXY"), "{said}");
}
