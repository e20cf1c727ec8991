//! What is rendered is taken by the schemas of its kinds, and `portcullis lint` finds nothing in it at a guarded gateway.

use std::path::{Path, PathBuf};

use portcullis_control_routing::{Placement, Resource, Settings, State, Wanted, cluster_side, render, write};
use portcullis_identity::ids::ClusterId;
use portcullis_lint::lint;
use portcullis_lint::report::text;
use portcullis_lint::resource::Resource as Linted;
use serde_json::Value;

/// The gateway to which routes are bound, with the filter.
const GATEWAY: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ingress, namespace: alfred-platform}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: portcullis-gateway, namespace: alfred-platform, labels: {app.kubernetes.io/part-of: portcullis}}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  pluginName: gateway
  phase: AUTHN
  priority: 1000
  failStrategy: FAIL_RELOAD
"#;

fn id(text: &str) -> ClusterId {
    ClusterId::new(text).unwrap()
}

fn settings() -> Settings {
    Settings::parse(include_str!("settings.yaml")).unwrap()
}

fn rendered() -> Vec<Resource> {
    let one = |(name, placement)| Wanted { id: id(name), placement, state: State::Kept };
    let clusters = [
        ("acme-hosted", Placement::Hosted),
        ("acme-outside", Placement::Hosted),
        ("acme-onprem", Placement::OnPremises),
        ("globex-onprem", Placement::OnPremises),
    ];
    render(&settings(), &clusters.map(one)).unwrap()
}

/// The schema of a kind, where unknown fields are refused wherever the known ones are listed.
fn schema(resource: &Value) -> PathBuf {
    let version = resource["apiVersion"].as_str().unwrap();
    let kind = resource["kind"].as_str().unwrap().to_lowercase();
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../harness/schemas");
    match version.split_once('/') {
        Some((group, version)) => schemas.join(format!("crds/{group}_{version}_{kind}.json")),
        None => schemas.join(format!("kubernetes/{kind}-{version}.json")),
    }
}

fn problems(resource: &Value) -> Vec<String> {
    let file = schema(resource);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    if let Some(reference) = schema["allOf"][0]["$ref"].as_str() {
        let text = std::fs::read_to_string(file.with_file_name("_definitions.json")).unwrap();
        let place = reference.split_once('#').unwrap().1.to_owned();
        schema = serde_json::from_str(&text.replace("_definitions.json#", "#")).unwrap();
        schema["$ref"] = format!("#{place}").into();
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    let told = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator.iter_errors(resource).map(told).collect()
}

#[test]
fn every_kind_is_taken_by_its_schema_and_a_misspelt_field_is_not() {
    let grant = serde_json::from_str(r#"{"url": "https://grants.test", "code": "x", "ca": "pem"}"#).unwrap();
    let side = cluster_side(&settings(), &id("globex-onprem"), "data-cluster", Some(&grant));
    let all: Vec<Value> = rendered().into_iter().chain(side).map(|one| one.body).collect();
    assert!(all.len() > 18, "{}", all.len());
    for resource in &all {
        assert_eq!(problems(resource), [""; 0], "{resource}");
        let mut wrong = resource.clone();
        wrong["spec"]["misspelt"] = 1.into();
        assert_eq!(problems(&wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn nothing_is_found_in_what_is_rendered_and_without_its_word_the_shared_route_is() {
    let routes = write(&rendered()).unwrap();
    let found = |routes: &str| {
        let mut all = Linted::read("gateway", GATEWAY).unwrap();
        all.extend(Linted::read("routes", routes).unwrap());
        let findings = lint(all);
        let list: Vec<_> = findings.list().into_iter().filter(|one| one.place.file == "routes").collect();
        (list.len(), text(&list))
    };
    let (count, told) = found(&routes);
    assert_eq!(count, 0, "{told}");
    let silent = routes.replace("portcullis.dev/lint-ignore: PL601", "portcullis.dev/lint-ignored: PL601");
    assert_ne!(silent, routes);
    let (_, told) = found(&silent);
    assert!(told.contains("PL601"), "{told}");
}
