//! All resources that are looked at together, and what several rules ask of them.

use portcullis_plugin_check as plugin_check;
use serde_json::Value as Json;

use crate::native;
use crate::node::Node;
use crate::resource::Resource;
use crate::selector::{Selector, Workload, labels};

/// The stages that authenticate: without one of them at a port nobody is known there.
const AUTHENTICATING: [&str; 2] = ["gateway", "authn"];

/// All resources of one run.
#[derive(Debug)]
pub struct World {
    resources: Vec<Resource>,
    root_namespace: String,
    /// Istio's mesh configuration, where a ConfigMap holds it.
    mesh: Option<(Resource, Node)>,
    workloads: Vec<Workload>,
    plugins: Vec<Resource>,
    ours: Vec<Ours>,
}

/// A plugin of Portcullis: a `WasmPlugin`, or a filter of the native module that is in the place of one.
#[derive(Clone, Debug)]
pub struct Ours {
    /// The resource.
    pub resource: Resource,
    /// Where it runs.
    pub selector: Selector,
    /// Its root id.
    pub root: String,
    /// The ports that it names; none: all of them.
    pub ports: Vec<i64>,
}

/// A server of an Istio `Gateway`.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// The `Gateway`.
    pub gateway: &'a Resource,
    /// The server.
    pub node: &'a Node,
}

impl World {
    /// What is known of these resources.
    #[must_use]
    pub fn new(resources: Vec<Resource>) -> Self {
        let mesh = resources.iter().find_map(mesh_config);
        let root = mesh.as_ref().map(|(_, node)| node.text_at("rootNamespace")).unwrap_or_default();
        let root_namespace = if root.is_empty() { "istio-system" } else { root }.to_owned();
        let workloads = resources.iter().flat_map(workloads).collect();
        let plugins: Vec<Resource> = resources.iter().filter_map(plugin).collect();
        let ours = resources.iter().flat_map(|resource| Ours::of(resource, &root_namespace)).collect();
        Self { resources, root_namespace, mesh, workloads, plugins, ours }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter()
    }

    /// Those of a kind.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(move |resource| resource.kind() == kind)
    }

    /// What loads a module: each `WasmPlugin`, and each `TrafficExtension` with what its `wasm` says in `spec` besides, as a
    /// `WasmPlugin` has it.
    #[must_use]
    pub fn plugins(&self) -> &[Resource] {
        &self.plugins
    }

    /// The plugins of Portcullis among them.
    #[must_use]
    pub fn ours(&self) -> &[Ours] {
        &self.ours
    }

    /// The namespace whose resources speak of the whole mesh.
    #[must_use]
    pub fn root_namespace(&self) -> &str {
        &self.root_namespace
    }

    /// Istio's mesh configuration and the resource that holds it.
    #[must_use]
    pub fn mesh(&self) -> Option<(&Resource, &Node)> {
        self.mesh.as_ref().map(|(resource, node)| (resource, node))
    }

    /// Which workloads a resource speaks of.
    #[must_use]
    pub fn selector(&self, resource: &Resource) -> Selector {
        Selector::of(resource, &self.root_namespace)
    }

    /// Everything that runs, as far as these resources say.
    #[must_use]
    pub fn workloads(&self) -> &[Workload] {
        &self.workloads
    }

    /// Whether one of our plugins that authenticate runs where this speaks of.
    #[must_use]
    pub fn guards(&self, selector: &Selector) -> bool {
        self.guarding(selector).next().is_some()
    }

    /// Whether one of our plugins that authenticate runs wherever this speaks of.
    #[must_use]
    pub fn guards_all(&self, selector: &Selector) -> bool {
        self.guarding(selector).any(|ours| ours.selector.covers(selector))
    }

    /// Whether one of our plugins that authenticate runs at this port of every pod of a `Gateway`.
    #[must_use]
    pub fn guards_port(&self, gateway: &Resource, port: i64) -> bool {
        // Pods of another namespace than the Gateway's are possible, but who makes them has to be let in there first.
        let pods =
            Selector { namespace: Some(gateway.namespace().to_owned()), ..Self::gateway_selector(gateway) };
        self.guarding(&pods).any(|ours| ours.runs_at(port) && ours.selector.covers(&pods))
    }

    /// Our plugins that authenticate where this speaks of.
    pub fn guarding<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = &'a Ours> {
        let authenticating = self.ours.iter().filter(|ours| AUTHENTICATING.contains(&ours.root.as_str()));
        authenticating.filter(|ours| ours.selector.overlaps(selector))
    }

    /// Istio's gateways; those of the Gateway API are of another group.
    fn gateways(&self) -> impl Iterator<Item = &Resource> {
        self.of("Gateway").filter(|gateway| is_istios(gateway))
    }

    /// The workloads of a `Gateway`: those of every namespace.
    #[must_use]
    pub fn gateway_selector(gateway: &Resource) -> Selector {
        Selector { namespace: None, labels: labels(gateway.node.at("spec.selector")) }
    }

    /// Gateways at which a plugin of ours authenticates.
    pub fn guarded_gateways(&self) -> impl Iterator<Item = &Resource> {
        self.gateways().filter(|gateway| self.guards(&Self::gateway_selector(gateway)))
    }

    /// Servers of the guarded gateways.
    pub fn guarded_servers(&self) -> impl Iterator<Item = Server<'_>> {
        self.guarded_gateways().flat_map(|gateway| {
            gateway.node.list_at("spec.servers").iter().map(move |node| Server { gateway, node })
        })
    }

    /// Whether what this speaks of is a gateway.
    #[must_use]
    pub fn is_gateway(&self, selector: &Selector) -> bool {
        let mut gateways = self.gateways().map(Self::gateway_selector);
        !selector.labels.is_empty() && gateways.any(|gateway| gateway.overlaps(selector))
    }

    /// `VirtualService`s of guarded gateways.
    pub fn guarded_routes(&self) -> impl Iterator<Item = &Resource> {
        let guarded = |service: &&Resource| self.guarded_gateways().any(|gateway| is_bound(service, gateway));
        self.of("VirtualService").filter(guarded)
    }

    /// Whether any `VirtualService` is bound to a gateway.
    #[must_use]
    pub fn has_routes(&self, gateway: &Resource) -> bool {
        self.of("VirtualService").any(|service| is_bound(service, gateway))
    }
}

/// Whether a `VirtualService` is bound to a gateway.
fn is_bound(service: &Resource, gateway: &Resource) -> bool {
    let mut named = service.node.list_at("spec.gateways").iter().filter_map(Node::text);
    named.any(|name| is_named(gateway, name, service.namespace()))
}

/// Whether a gateway is meant by `NAME`, `NAMESPACE/NAME`, `./NAME`, or in the old form `NAME.NAMESPACE.svc.cluster.local`.
fn is_named(gateway: &Resource, name: &str, from: &str) -> bool {
    let (namespace, name) = match (name.split_once('/'), name.split_once('.')) {
        (Some((".", name)), _) => (from, name),
        (Some(pair), _) => pair,
        (None, Some((name, rest))) => (rest.split('.').next().unwrap_or(rest), name),
        (None, None) => (from, name),
    };
    gateway.namespace() == namespace && gateway.name() == name
}

impl Ours {
    fn of(resource: &Resource, root_namespace: &str) -> Vec<Self> {
        let wasm = plugin(resource).filter(|plugin| plugin_check::is_plugin(&is_plugin_view(plugin)));
        let ours = |resource: Resource| Self {
            selector: Selector::of(&resource, root_namespace),
            root: resource.node.text_at("spec.pluginName").to_owned(),
            ports: ports(&resource),
            resource,
        };
        wasm.into_iter().chain(native::plugins(resource)).map(ours).collect()
    }

    /// Whether it runs at this port.
    #[must_use]
    pub fn runs_at(&self, port: i64) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }

    /// A text of its `pluginConfig`.
    #[must_use]
    pub fn config(&self, path: &str) -> &str {
        self.resource.node.at("spec.pluginConfig").map(|config| config.text_at(path)).unwrap_or_default()
    }
}

/// The ports that a plugin names; none: all of them.
pub(crate) fn ports(plugin: &Resource) -> Vec<i64> {
    let matches = plugin.node.list_at("spec.match");
    if matches.iter().any(|m| m.list_at("ports").is_empty()) {
        return Vec::new();
    }
    matches.iter().flat_map(|m| m.list_at("ports")).filter_map(|port| port.at("number")?.int()).collect()
}

/// The plugin that a resource is.
fn plugin(resource: &Resource) -> Option<Resource> {
    use crate::node::Value;
    let mut plugin = resource.clone();
    match (resource.kind(), resource.node.at("spec.wasm")) {
        ("WasmPlugin", _) => Some(plugin),
        ("TrafficExtension", Some(Node { value: Value::Map(module), .. })) => {
            let Value::Map(members) = &mut plugin.node.value else { return None };
            let spec = members.iter_mut().find(|entry| entry.key == "spec")?;
            if let Value::Map(fields) = &mut spec.node.value {
                fields.extend(module.iter().cloned());
            }
            Some(plugin)
        }
        _ => None,
    }
}

/// As much of a resource as tells whether it is a plugin of ours.
fn is_plugin_view(resource: &Resource) -> Json {
    let labels = resource.node.at("metadata.labels").map(Node::json);
    // A plugin has what it loads, whatever it is.
    serde_json::json!({"kind": resource.kind(), "metadata": {"labels": labels}, "spec": {"wasm": {}}})
}

/// Istio's mesh configuration in the ConfigMap `istio`.
fn mesh_config(resource: &Resource) -> Option<(Resource, Node)> {
    if resource.kind() != "ConfigMap" || resource.name() != "istio" {
        return None;
    }
    let text = resource.node.at("data.mesh")?;
    let mut node = Node::documents(text.text()?).ok()?.into_iter().next()?;
    move_down(&mut node, text.line);
    Some((resource.clone(), node))
}

/// Gives lines of a text within a document those of the document, where the text begins on the line after its key.
fn move_down(node: &mut Node, lines: usize) {
    use crate::node::Value;
    node.line += lines;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| move_down(item, lines)),
        Value::Map(members) => members.iter_mut().for_each(|entry| move_down(&mut entry.node, lines)),
        _ => (),
    }
}

fn is_istios(gateway: &Resource) -> bool {
    gateway.group() == "networking.istio.io"
}

/// What runs by a resource.
fn workloads(resource: &Resource) -> Vec<Workload> {
    let namespace = Some(resource.namespace().to_owned());
    let one =
        |path: &str| vec![Workload { namespace: namespace.clone(), labels: labels(resource.node.at(path)) }];
    match resource.kind() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
            one("spec.template.metadata.labels")
        }
        "CronJob" => one("spec.jobTemplate.spec.template.metadata.labels"),
        "Pod" => one("metadata.labels"),
        "WorkloadEntry" => one("spec.labels"),
        "WorkloadGroup" => one("spec.metadata.labels"),
        "Gateway" if is_istios(resource) => {
            let Selector { namespace, labels } = World::gateway_selector(resource);
            vec![Workload { namespace, labels }]
        }
        _ => Vec::new(),
    }
}
