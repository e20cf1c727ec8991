//! Policies and plugins of an overlay for a cluster, put into the local mesh in the place of its own. What they say stays; what
//! they call the gateway's namespace, port and domain becomes what these are called here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::block::Plan;
use crate::bootstrap::Managed;
use crate::pki::Workload;

/// What decides who gets through. Everything else is that of the local mesh.
const KINDS: [&str; 4] = ["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "WasmPlugin"];

/// What every gateway of ours has among its labels.
const GATEWAY: (&str, &str) = ("istio", "ingressgateway");

/// The gateway's port for clients: in a cluster, and here. In a cluster the kubelet alone comes to the second one.
const PORTS: [&str; 2] = ["443", "8080"];

/// Resources with the policies of another overlay.
pub(crate) struct Replaced {
    /// All that is to be run.
    pub(crate) resources: Vec<Value>,
    /// What of the other overlay is not run, and what of the local one is run all the same.
    pub(crate) told: Vec<String>,
}

/// An overlay whose gateway has no plugin that is run here.
const NO_PLUGIN: &str = "its gateway has no WasmPlugin, and what else may guard it (TrafficExtensions, a native gateway) is \
                         not run here: give the overlay with components/gateway-plugin";

/// Puts the policies of `theirs` into `ours`.
///
/// # Errors
/// Theirs have no plugin for the gateway.
pub(crate) fn replace(ours: Vec<Value>, theirs: Vec<Value>, plan: Plan) -> Result<Replaced, &'static str> {
    let there = Site::of(&theirs);
    let domain = domain(&ours);
    let (mut kept, mut told): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
    for mut resource in theirs.into_iter().filter(decides) {
        let name = title(&resource);
        match there.workload_of(&resource, plan) {
            Ok(of_gateway) => {
                there.rename(&mut resource, of_gateway, domain.as_deref());
                kept.push(resource);
            }
            Err(why) => told.push(format!("{name} is not run: {why}")),
        }
    }
    if !kept.iter().any(|one| one["kind"] == "WasmPlugin" && namespace(one) == Workload::INGRESS.namespace) {
        return Err(NO_PLUGIN);
    }
    let mut covered: BTreeSet<String> = kept.iter().map(|one| namespace(one).to_owned()).collect();
    covered.extend([Workload::INGRESS, Workload::CONTROL].map(|workload| workload.namespace.to_owned()));
    let mut resources = Vec::new();
    for resource in ours {
        if decides(&resource) && covered.contains(namespace(&resource)) {
            continue;
        }
        if decides(&resource) {
            told.push(format!(
                "{} of overlays/local is run: that overlay has nothing there",
                title(&resource)
            ));
        }
        resources.push(resource);
    }
    resources.extend(kept);
    Ok(Replaced { resources, told })
}

fn decides(resource: &Value) -> bool {
    KINDS.iter().any(|kind| resource["kind"] == *kind)
}

fn namespace(resource: &Value) -> &str {
    resource["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn title(resource: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}/{}", text(&resource["kind"]), namespace(resource), text(&resource["metadata"]["name"]))
}

/// The domain that the plugins know.
fn domain(resources: &[Value]) -> Option<String> {
    let plugins = resources.iter().filter(|resource| resource["kind"] == "WasmPlugin");
    plugins.filter_map(|plugin| plugin["spec"]["pluginConfig"]["domain"].as_str()).next().map(str::to_owned)
}

/// How an overlay calls its gateway.
struct Site {
    namespace: String,
    labels: Value,
    domain: Option<String>,
}

impl Site {
    fn of(resources: &[Value]) -> Self {
        let (key, value) = GATEWAY;
        let labels = |resource: &Value| resource["spec"]["template"]["metadata"]["labels"].clone();
        let gateway = resources.iter().find(|resource| labels(resource)[key] == value);
        Self {
            namespace: gateway.map_or(Workload::INGRESS.namespace, namespace).to_owned(),
            labels: gateway.map_or_else(|| json!({key: value}), labels),
            domain: domain(resources),
        }
    }

    /// Whether a resource is about the gateway, or why there is nothing here that it is about.
    fn workload_of(&self, resource: &Value, plan: Plan) -> Result<bool, String> {
        let spec = &resource["spec"];
        if spec["targetRefs"].is_array() || spec["targetRef"].is_object() {
            return Err("it is for a waypoint".to_owned());
        }
        let selector = &spec["selector"]["matchLabels"];
        let namespace = namespace(resource);
        let everywhere = namespace == Workload::INGRESS.namespace;
        let Some(wanted) = selector.as_object().filter(|wanted| !wanted.is_empty()) else {
            let known = Managed::all(plan, Workload::INGRESS)
                .iter()
                .any(|proxy| proxy.workload.namespace == namespace);
            // Of the namespace that becomes istio-system here it would be about everything.
            return if everywhere || known && namespace != self.namespace {
                Ok(false)
            } else {
                Err(format!("it is about all of {namespace}, of which only the gateway is here"))
            };
        };
        let among = |labels: &dyn Fn(&str) -> Option<String>| {
            wanted.iter().all(|(key, value)| labels(key).as_deref() == value.as_str())
        };
        if (everywhere || namespace == self.namespace)
            && among(&|key| self.labels[key].as_str().map(str::to_owned))
        {
            return Ok(true);
        }
        let here = Managed::all(plan, Workload::INGRESS).iter().any(|proxy| {
            let label = |key: &str| proxy.labels.iter().find(|(name, _)| *name == key);
            (everywhere || proxy.workload.namespace == namespace)
                && among(&|key| label(key).map(|(_, value)| (*value).to_owned()))
        });
        if here { Ok(false) } else { Err("it selects nothing that is here".to_owned()) }
    }

    fn rename(&self, resource: &mut Value, of_gateway: bool, domain: Option<&str>) {
        if of_gateway {
            swap_ports(resource);
            resource["spec"]["selector"]["matchLabels"] = json!({GATEWAY.0: GATEWAY.1});
        }
        self.rename_texts(resource, domain);
    }

    fn rename_texts(&self, value: &mut Value, domain: Option<&str>) {
        match value {
            Value::String(text) => {
                let here = Workload::INGRESS.namespace;
                if *text == self.namespace {
                    here.clone_into(text);
                }
                *text = text.replace(&format!("ns/{}/", self.namespace), &format!("ns/{here}/"));
                if let (Some(theirs), Some(ours)) = (&self.domain, domain) {
                    *text = text.replace(theirs.as_str(), ours);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.rename_texts(item, domain)),
            Value::Object(members) => members.values_mut().for_each(|one| self.rename_texts(one, domain)),
            _ => {}
        }
    }
}

/// Makes the gateway's port for clients that of the local mesh, wherever a policy or plugin may name a port.
fn swap_ports(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(swap_ports),
        Value::Object(members) => {
            let of_port = members.get("key").is_some_and(|key| *key == "destination.port");
            for (name, member) in members.iter_mut() {
                match name.as_str() {
                    "ports" | "notPorts" | "number" => swap(member),
                    "values" | "notValues" if of_port => swap(member),
                    _ => swap_ports(member),
                }
            }
        }
        _ => {}
    }
}

fn swap(port: &mut Value) {
    let [there, here] = PORTS;
    let other = |port: &str| [(there, here), (here, there)].into_iter().find(|(one, _)| *one == port);
    match port {
        Value::String(text) => {
            if let Some((_, other)) = other(text) {
                other.clone_into(text);
            }
        }
        Value::Number(number) => {
            let swapped = other(&number.to_string()).and_then(|(_, other)| other.parse::<u16>().ok());
            if let Some(other) = swapped {
                *port = other.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(swap),
        Value::Object(members) => members.values_mut().for_each(swap),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Block;

    fn of(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
        json!({"kind": kind, "metadata": {"namespace": namespace, "name": name}, "spec": spec})
    }

    /// What becomes of an overlay whose gateway is in `platform`.
    fn replaced(theirs: Vec<Value>) -> Replaced {
        replaced_with(theirs, "WasmPlugin").unwrap()
    }

    fn replaced_with(theirs: Vec<Value>, kind: &str) -> Result<Replaced, &'static str> {
        let block = Block::take_any().unwrap();
        let plugin = |kind, namespace, domain: &str| {
            of(
                kind,
                namespace,
                "plugin",
                &json!({"selector": {"matchLabels": {"istio": "ingressgateway"}},
                "match": [{"ports": [{"number": 443}, {"number": 8080}]}], "pluginConfig": {"domain": domain}}),
            )
        };
        let ours = vec![
            plugin("WasmPlugin", "istio-system", "here.example"),
            of("VirtualService", "istio-system", "routes", &json!({})),
            of("AuthorizationPolicy", "acme-onprem", "from-agent", &json!({})),
        ];
        let labels = json!({"metadata": {"labels": {"app": "api-gateway", "istio": "ingressgateway"}}});
        let mut all = vec![
            of("Deployment", "platform", "api-gateway", &json!({"template": labels})),
            plugin(kind, "platform", "there.example"),
        ];
        all.extend(theirs);
        replace(ours, all, block.plan())
    }

    #[test]
    fn a_gateway_that_is_guarded_by_something_else_is_refused() {
        let told = replaced_with(Vec::new(), "TrafficExtension").err().unwrap();
        assert!(told.contains("components/gateway-plugin"), "{told}");
    }

    #[test]
    fn the_gateway_is_called_as_it_is_here() {
        let rule = json!({"from": [{"source": {"principals": ["cluster.local/ns/platform/sa/ingressgateway"],
            "namespaces": ["platform"]}}], "to": [{"operation": {"ports": ["443", "9443"], "notPorts": ["8080"],
            "hosts": ["api.there.example"]}}], "when": [{"key": "destination.port", "values": ["443"]},
            {"key": "request.headers[x-port]", "values": ["443"]}]});
        let spec = json!({"selector": {"matchLabels": {"app": "api-gateway"}}, "rules": [rule]});
        let done = replaced(vec![of("AuthorizationPolicy", "platform", "p", &spec)]);
        let wanted = json!({"from": [{"source": {"principals": ["cluster.local/ns/istio-system/sa/ingressgateway"],
            "namespaces": ["istio-system"]}}], "to": [{"operation": {"ports": ["8080", "9443"], "notPorts": ["443"],
            "hosts": ["api.here.example"]}}], "when": [{"key": "destination.port", "values": ["8080"]},
            {"key": "request.headers[x-port]", "values": ["443"]}]});
        let policy = done.resources.last().unwrap();
        assert_eq!(policy["metadata"]["namespace"], "istio-system");
        assert_eq!(policy["spec"]["selector"]["matchLabels"], json!({"istio": "ingressgateway"}));
        assert_eq!(policy["spec"]["rules"][0], wanted);
        let plugins: Vec<_> = done.resources.iter().filter(|one| one["kind"] == "WasmPlugin").collect();
        assert_eq!(plugins.len(), 1, "the local one is gone");
        assert_eq!(plugins[0]["spec"]["match"][0]["ports"], json!([{"number": 8080}, {"number": 443}]));
    }

    #[test]
    fn what_is_about_nothing_here_is_told_and_so_is_what_stays() {
        let select = |app: &str| json!({"selector": {"matchLabels": {"app": app}}});
        let done = replaced(vec![
            of("AuthorizationPolicy", "acme-hosted", "store", &select("minio")),
            of("AuthorizationPolicy", "acme-hosted", "from-ingress", &select("data-api")),
            of("AuthorizationPolicy", "platform", "all", &json!({})),
            of("AuthorizationPolicy", "istio-system", "default-deny", &json!({})),
            of("ServiceEntry", "platform", "other", &json!({})),
        ]);
        let told = done.told.join("\n");
        for part in [
            "acme-hosted/store is not run",
            "platform/all is not run",
            "acme-onprem/from-agent of overlays/local",
        ] {
            assert!(told.contains(part), "{part:?} is not in: {told}");
        }
        let names: Vec<_> = done.resources.iter().map(title).collect();
        assert_eq!(
            names,
            [
                "VirtualService istio-system/routes",
                "AuthorizationPolicy acme-onprem/from-agent",
                "WasmPlugin istio-system/plugin",
                "AuthorizationPolicy acme-hosted/from-ingress",
                "AuthorizationPolicy istio-system/default-deny",
            ]
        );
    }
}
