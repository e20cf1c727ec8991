//! The native module in a proxy: an `EnvoyFilter` that loads it stands where a `WasmPlugin` would.

use crate::node::{Entry, Node, Value};
use crate::resource::Resource;

/// Envoy's filter for dynamic modules.
const FILTER: &str =
    "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";

/// The name of the module's file, without `lib` and `.so`.
const MODULE: &str = "portcullis";

/// The filters of an `EnvoyFilter` that load our module, each as the plugin that it is in the place of: root id,
/// `pluginConfig`, phase, port, and the workloads.
pub(crate) fn plugins(resource: &Resource) -> Vec<Resource> {
    if resource.kind() != "EnvoyFilter" {
        return Vec::new();
    }
    let patches = resource.node.list_at("spec.configPatches").iter();
    patches.filter_map(|patch| Some(plugin(resource, patch, filter(patch)?))).collect()
}

/// What is written of our module, wrapped or not.
fn filter(patch: &Node) -> Option<&Node> {
    let typed = patch.at("patch.value.typed_config")?;
    let ours = |filter: &&Node| filter.text_at("dynamic_module_config.name") == MODULE;
    match typed.text_at("type_url") {
        FILTER => typed.get("value").filter(ours),
        _ => Some(typed).filter(|typed| typed.text_at("@type") == FILTER).filter(ours),
    }
}

fn plugin(resource: &Resource, patch: &Node, filter: &Node) -> Resource {
    let line = filter.line;
    let text = |text: &str| Node { line, value: Value::Text(text.to_owned()) };
    let map = |members: Vec<(&str, Node)>| {
        let entry = |(key, node): (&str, Node)| Entry { key: key.to_owned(), node };
        Node { line, value: Value::Map(members.into_iter().map(entry).collect()) }
    };
    let list = |items| Node { line, value: Value::List(items) };
    let copy = |node: Option<&Node>| node.cloned().unwrap_or(Node { line, value: Value::Null });
    let phase = if patch.text_at("patch.operation") == "INSERT_FIRST" { "AUTHN" } else { "STATS" };
    let port = patch.at("match.listener.portNumber");
    let ports = port.map(|port| map(vec![("number", port.clone())]));
    let spec = map(vec![
        ("workloadSelector", copy(resource.node.at("spec.workloadSelector"))),
        ("pluginName", copy(filter.get("filter_name"))),
        ("phase", text(phase)),
        ("priority", copy(resource.node.at("spec.priority"))),
        (
            "match",
            list(vec![map(vec![
                ("mode", text("CLIENT_AND_SERVER")),
                ("ports", list(ports.into_iter().collect())),
            ])]),
        ),
        ("pluginConfig", configuration(filter.get("filter_config")).unwrap_or_else(|| map(Vec::new()))),
    ]);
    let mut node = map(vec![("kind", text("EnvoyFilter"))]);
    if let Value::Map(members) = &mut node.value {
        let kept = ["apiVersion", "metadata"].map(|name| (name, copy(resource.node.get(name))));
        members.extend(kept.map(|(key, node)| Entry { key: key.to_owned(), node }));
        members.push(Entry { key: "spec".to_owned(), node: spec });
    }
    Resource { file: resource.file.clone(), node }
}

/// The configuration, which Envoy hands on as JSON: a `Struct`, or text that is JSON.
fn configuration(config: Option<&Node>) -> Option<Node> {
    let value = config?.get("value")?;
    let Some(text) = value.text() else { return Some(value.clone()) };
    let mut read = Node::documents(text).ok()?.into_iter().next()?;
    on_line(&mut read, value.line);
    Some(read)
}

/// Everything in it stands on one line of the file.
fn on_line(node: &mut Node, line: usize) {
    node.line = line;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| on_line(item, line)),
        Value::Map(members) => members.iter_mut().for_each(|entry| on_line(&mut entry.node, line)),
        _ => (),
    }
}
