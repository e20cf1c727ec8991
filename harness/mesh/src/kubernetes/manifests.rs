//! Rendered manifests at the API server: what is new is applied, what is there no more is deleted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::kubectl::{Kubectl, Said};
use crate::error::Result;

/// Brings the API server from what was applied last to these resources: all of them, or none.
///
/// # Errors
/// What it refuses. Then nothing but namespaces was made.
pub(crate) fn hand_over(kubectl: &Kubectl, resources: &[Value], before: &[Value]) -> Result<Said> {
    let namespaces: BTreeSet<&str> =
        resources.iter().filter_map(|one| one["metadata"]["namespace"].as_str()).collect();
    // A cluster has them before a resource can stand in one.
    let namespace =
        |name: &&str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let namespaces: Vec<Value> = namespaces.iter().map(namespace).collect();
    kubectl.apply(&documents(&namespaces))?.or_failed("kubectl apply")?;
    let text = documents(resources);
    kubectl.dry_run(&text)?.or_failed("kubectl apply --dry-run=server")?;
    let said = kubectl.apply(&text)?.or_failed("kubectl apply")?;
    let stays: BTreeSet<String> = resources.iter().map(identity).collect();
    let gone: Vec<Value> = before.iter().filter(|one| !stays.contains(&identity(one))).cloned().collect();
    if !gone.is_empty() {
        kubectl.delete(&documents(&gone))?.or_failed("kubectl delete")?;
    }
    Ok(said)
}

/// What a resource is called, whatever version it is written in.
fn identity(resource: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let group = text(&resource["apiVersion"]).split('/').next().unwrap_or_default().to_owned();
    let metadata = &resource["metadata"];
    [group, text(&resource["kind"]), text(&metadata["namespace"]), text(&metadata["name"])].join("/")
}

/// JSON is YAML.
fn documents(resources: &[Value]) -> String {
    resources.iter().map(|one| ["---\n", &one.to_string(), "\n"].concat()).collect()
}
