//! Members that a kind does not have.

use serde_json::Value as Json;

use crate::node::Node;
use crate::resource::Resource;
use crate::rule::{Found, Level, Rule};

/// A member that the kind's schema does not know.
pub(super) const UNKNOWN: Rule = Rule {
    code: "PL701",
    name: "unknown-field",
    level: Level::Error,
    why: "istiod reads files, and an API server without strict validation takes resources, with members that their kind does \
          not have: what was written there is dropped without a word.",
    fix: "Write the field as the kind names it; it is often one level further in or out.",
    check: |world, found| {
        for resource in world.all() {
            if let Some(schema) = crate::schemas::of(resource.group(), version(resource), resource.kind()) {
                walk(resource, &resource.node, schema, "", found);
            }
        }
    },
};

fn version(resource: &Resource) -> &str {
    let version = resource.node.text_at("apiVersion");
    version.rsplit_once('/').map_or(version, |(_, version)| version)
}

fn walk(resource: &Resource, node: &Node, schema: &Json, path: &str, found: &mut Found) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Json::Bool(true)) {
        return;
    }
    if let Some(items) = schema.get("items") {
        node.items().iter().for_each(|item| walk(resource, item, items, path, found));
        return;
    }
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return };
    for entry in node.members() {
        let here = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        let top =
            path.is_empty() && ["apiVersion", "kind", "metadata", "status"].contains(&entry.key.as_str());
        match properties.get(&entry.key) {
            Some(schema) => walk(resource, &entry.node, schema, &here, found),
            None if top => (),
            None => found.at(resource, &entry.node, format!("{here} is no field of {}", resource.kind())),
        }
    }
}
