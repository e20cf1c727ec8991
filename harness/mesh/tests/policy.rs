//! `portcullis-mesh policy` as an operator runs it: cases of files on the real istiod and the real Envoys.

mod private_manifests;

use std::path::Path;
use std::process::{Command, Output};

use portcullis_mesh::overlay::{Overlay, with_examples};
use portcullis_mesh::paths;
use serde_json::{Value, json};
use tempfile::TempDir;

use private_manifests::private_manifests;

fn policy(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis-mesh")).arg("policy").args(arguments).output().unwrap()
}

fn our_cases() -> String {
    paths::root().join("istio-manifests/cases").to_str().unwrap().to_owned()
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn add(manifests: &Path, name: &str, resource: &Value) {
    let overlay = Overlay::local(manifests);
    overlay.write(name, resource).unwrap();
    overlay.edit_list("resources", |files| files.push(name.into())).unwrap();
}

/// At the sidecar of the hosted cluster whoever is in the mesh may call: default deny is undone there.
fn allow_everybody() -> Value {
    json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "everybody", "namespace": "acme-hosted"},
        "spec": {"action": "ALLOW", "rules": [{}]}})
}

/// At the gateway, against agents.
fn deny_agents(key: &str, value: &str) -> Value {
    json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "no-agents", "namespace": "istio-system"},
        "spec": {"selector": {"matchLabels": {"istio": "ingressgateway"}}, "action": "DENY",
            "rules": [{"when": [{"key": key, "values": [value]}]}]}})
}

fn file(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cases.yaml"), text).unwrap();
    folder
}

/// The names in a JSON list.
fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[test]
fn our_manifests_do_what_their_cases_say() {
    let output = policy(&["test", &our_cases(), "--format", "junit"]);
    let (xml, said) = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{xml}\n{said}");
    for part in
        ["<testsuites ", "failures=\"0\"", "gateway.yaml", "inside.yaml", "a neighbour at a hosted cluster"]
    {
        assert!(xml.contains(part), "{part:?} is not in: {xml}");
    }
}

/// An ALLOW that undoes default deny: the case of the neighbour tells, and no other.
#[test]
fn a_policy_that_opens_a_hole_is_a_difference() {
    let (ours, broken) = (private_manifests(), private_manifests());
    add(broken.path(), "everybody.yaml", &allow_everybody());
    let [before, after] = [&ours, &broken].map(|folder| folder.path().to_str().unwrap().to_owned());
    let output = policy(&["diff", &before, &after, "--cases", &our_cases(), "--format", "json"]);
    let (json, said) = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{json}\n{said}");
    let changed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(names(&changed["changed"]), ["a neighbour at a hosted cluster"], "{json}");
    let change = &changed["changed"][0];
    assert_eq!((&change["before"]["ok"], &change["after"]["ok"]), (&json!(true), &json!(false)), "{json}");
    assert_eq!(change["before"]["seen"]["verdict"], "refused by default deny at acme-hosted (403)");
    assert_eq!(change["after"]["seen"]["verdict"], "allowed to acme-hosted (401)");
}

const AGENTS: &str = "cases:
- name: an agent
  caller: {jwt: {source_type: mcp_agent}}
  request: {cluster: acme-hosted}
  expect: {refused: {by: policy, policy: istio-system/no-agents, at: gateway, status: 403}}
- name: a person
  caller: {jwt: {}}
  request: {cluster: acme-hosted}
  expect: allowed
";

const SOURCE_TYPE: &str = "request.headers[x-portcullis-source-type]";

/// A DENY with a value that nobody ever has. Istio takes it; the case of the agent fails, and says what happened instead.
#[test]
fn a_policy_that_denies_nobody_fails_its_case() {
    let (cases, manifests) = (file(AGENTS), private_manifests());
    add(manifests.path(), "no-agents.yaml", &deny_agents(SOURCE_TYPE, "mcp-agent"));
    let arguments = [cases.path(), manifests.path()].map(|path| path.to_str().unwrap());
    let test = || policy(&["test", arguments[0], "--manifests", arguments[1]]);
    let output = test();
    let (text, said) = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}\n{said}");
    let row = |begin: &str| {
        text.lines().any(|line| line.starts_with(begin) && line.contains(" allowed to acme-hosted (200) "))
    };
    assert!(row("FAIL an agent ") && row("ok   a person "), "{text}");
    for part in [
        "cases.yaml:2 expected: refused by policy istio-system/no-agents at gateway (403)",
        "way: acme-hosted: 200 via_upstream",
        "1 of 2 cases as expected",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }

    let file = Overlay::local(manifests.path());
    file.write("no-agents.yaml", &deny_agents(SOURCE_TYPE, "mcp_agent")).unwrap();
    let output = test();
    let (text, said) = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}\n{said}");
    assert!(text.contains("refused by policy istio-system/no-agents at gateway (403)"), "{text}");

    // Of this rule istiod would leave out everything; Istio's validation stops it.
    file.write("no-agents.yaml", &deny_agents("request.header[x-portcullis-source-type]", "mcp_agent"))
        .unwrap();
    let output = test();
    let (text, said) = printed(&output);
    assert_eq!((output.status.code(), text.as_str()), (Some(2), ""), "{said}");
    assert!(said.contains("unknown attribute: request.header["), "{said}");
}

#[test]
fn mistakes_of_all_files_are_told_at_once_and_nothing_is_started() {
    let folder = file("cases:\n- name: a\n  request: {paths: /}\n  expect: refused\n");
    std::fs::write(folder.path().join("more.yaml"), "cases: [\n").unwrap();
    let output = policy(&["test", folder.path().to_str().unwrap()]);
    let (text, said) = printed(&output);
    assert_eq!((output.status.code(), text.as_str()), (Some(2), ""), "{said}");
    for part in ["cases.yaml:3: case.request has no member \"paths\"", "cases.yaml:4: ", "more.yaml:"] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!said.contains("starting"), "{said}");
}

#[test]
fn a_folder_that_is_no_manifests_is_refused_with_what_to_give() {
    for (folder, part) in [("base", "has no overlays/local: give istio-manifests"), ("no-such", "no-such")] {
        let dir = paths::root().join("istio-manifests").join(folder);
        let output = policy(&["test", &our_cases(), "--manifests", dir.to_str().unwrap()]);
        let (text, said) = printed(&output);
        assert_eq!((output.status.code(), text.as_str()), (Some(2), ""), "{said}");
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

const NO_SECRETS: &str = "cases:
- name: the secrets of the gateway's overlay
  caller: {jwt: {}}
  request: {cluster: acme-hosted, path: /secrets/all}
  expect: {refused: {by: policy, policy: istio-system/no-secrets, at: gateway, status: 403}}
";

/// The policies of `overlays/dev` do what the cases of `overlays/local` say, and one that `dev` has alone does what its own
/// case says, by the names, the port and the domain that the gateway has here.
#[test]
fn the_policies_of_an_overlay_for_a_cluster_are_tried_in_the_place_of_ours() {
    let (cases, manifests) = (file(NO_SECRETS), private_manifests());
    let dev = manifests.path().join("overlays/dev");
    let settings = std::fs::read_to_string(dev.join("settings.yaml")).unwrap();
    std::fs::write(dev.join("settings.yaml"), with_examples(&settings)).unwrap();
    let to = json!([{"operation": {"ports": ["443"], "paths": ["/secrets/*"]}}]);
    let policy_of_dev = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "no-secrets", "namespace": "alfred-platform"},
        "spec": {"selector": {"matchLabels": {"app": "api-gateway"}}, "action": "DENY", "rules": [{"to": to}]}});
    std::fs::write(dev.join("no-secrets.yaml"), policy_of_dev.to_string()).unwrap();
    let kustomization = std::fs::read_to_string(dev.join("kustomization.yaml")).unwrap();
    let with_policy = kustomization.replacen("resources:\n", "resources:\n- no-secrets.yaml\n", 1);
    std::fs::write(dev.join("kustomization.yaml"), with_policy).unwrap();
    let arguments = [cases.path(), dev.as_path()].map(|path| path.to_str().unwrap());
    let output = policy(&["test", arguments[0], &our_cases(), "--manifests", arguments[1]]);
    let (text, said) = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}\n{said}");
    assert!(text.contains("refused by policy istio-system/no-secrets at gateway (403)"), "{text}");
    for part in ["acme-hosted/minio is not run", "acme-onprem/from-tunnel-agent of overlays/local is run"] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}
