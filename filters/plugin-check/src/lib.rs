//! What is wrong with a `WasmPlugin` or `TrafficExtension` resource, before it is applied: Istio takes any `pluginConfig`, and
//! one with a mistake refuses every request.

mod schema;

use portcullis_engine::Plugin;
use portcullis_model::errors::FieldError;
use portcullis_roots::{ROOTS, root};
use serde_json::Value;

pub use portcullis_model::header_name::{TAKEN, TAKEN_PREFIXES};
pub use schema::schema;

/// What marks the resources of Portcullis.
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "portcullis");

/// Whether a resource loads a module: a `WasmPlugin`, or a `TrafficExtension` with `wasm`, which is its successor.
#[must_use]
pub fn loads_module(resource: &Value) -> bool {
    place(resource).is_some()
}

/// Whether a resource is a plugin of ours: one that loads a module and has the label `app.kubernetes.io/part-of: portcullis`.
#[must_use]
pub fn is_plugin(resource: &Value) -> bool {
    let label = resource.pointer("/metadata/labels").and_then(|labels| labels.get(PART_OF.0));
    loads_module(resource) && label.is_some_and(|l| l == PART_OF.1)
}

/// Where it says what it loads.
fn place(resource: &Value) -> Option<&'static str> {
    match resource.get("kind")?.as_str()? {
        "WasmPlugin" => Some("spec"),
        "TrafficExtension" if resource.pointer("/spec/wasm").is_some() => Some("spec.wasm"),
        _ => None,
    }
}

/// What a plugin says of the module: its `spec`, or `spec.wasm` of a `TrafficExtension`. Null where it says nothing.
#[must_use]
pub fn module(resource: &Value) -> &Value {
    let path: String =
        place(resource).unwrap_or("spec").split('.').map(|part| ["/", part].concat()).collect();
    resource.pointer(&path).unwrap_or(&Value::Null)
}

/// Its namespace and name, for messages.
#[must_use]
pub fn name(resource: &Value) -> String {
    let text = |path: &str| resource.pointer(path).and_then(Value::as_str).unwrap_or_default();
    [text("/metadata/namespace"), text("/metadata/name")].join("/")
}

/// Everything that is wrong with a plugin of ours: its root id, its `pluginConfig` by the filter's own parser, and that it
/// must not fail open, nor run where there are no requests.
#[must_use]
pub fn errors(resource: &Value) -> Vec<FieldError> {
    let (place, module) = (place(resource).unwrap_or("spec"), module(resource));
    let named = module.get("pluginName").and_then(Value::as_str).unwrap_or_default();
    let Some(root) = root(named.as_bytes()) else {
        let known: Vec<&str> = ROOTS.iter().map(|root| root.id).collect();
        let problem = format!("{named:?} is no root id; write one of {}", known.join(", "));
        return vec![FieldError { field: "pluginName".to_owned(), problem }.within(place)];
    };
    let config = module.get("pluginConfig").map(Value::to_string).unwrap_or_default();
    let read = Plugin::new(root, config.as_bytes()).map(drop).err().unwrap_or_default();
    let own = fails_open(module).into_iter().chain(on_connections(module)).chain(placeholder(module));
    own.chain(read).map(|error| error.within(place)).collect()
}

/// A plugin whose failure lets every request through.
fn fails_open(module: &Value) -> Option<FieldError> {
    let strategy = module.get("failStrategy")?;
    let problem = "lets every request through while the module fails; write FAIL_RELOAD".to_owned();
    (strategy == "FAIL_OPEN").then(|| FieldError { field: "failStrategy".to_owned(), problem })
}

/// A plugin that runs on connections: no request comes to it, and each goes on as the client wrote it.
fn on_connections(module: &Value) -> Option<FieldError> {
    let problem = "runs the module on connections, where it guards no request; write HTTP".to_owned();
    (module.get("type")? == "NETWORK").then(|| FieldError { field: "type".to_owned(), problem })
}

/// The key that the manifests have before an operator puts in that of a control service: bytes of zero alone.
fn placeholder(module: &Value) -> Option<FieldError> {
    let key = module.pointer("/pluginConfig/snapshot/key")?.as_str()?.trim_end_matches('=');
    let problem = "is the placeholder of the manifests, and no page would ever be taken; write what `portcullis snapshot-key` prints".to_owned();
    let zeros = !key.is_empty() && key.bytes().all(|b| b == b'A');
    zeros.then(|| FieldError { field: "pluginConfig.snapshot.key".to_owned(), problem })
}

/// What is allowed in a resource and does nothing beside the plugin, or has it refuse nobody.
#[must_use]
pub fn warnings(resource: &Value) -> Vec<String> {
    [hidden_cors(resource), no_servers(resource), not_enforced(resource)].into_iter().flatten().collect()
}

/// A `corsPolicy` at a gateway: the plugin's phase comes before Istio's CORS filter, which is why it never sees a
/// preflight.
fn hidden_cors(resource: &Value) -> Option<String> {
    let mut gateways = resource.pointer("/spec/gateways")?.as_array()?.iter();
    let mut routes = resource.pointer("/spec/http")?.as_array()?.iter();
    let at_gateway = resource["kind"] == "VirtualService" && gateways.any(|gateway| gateway != "mesh");
    let has_policy = routes.any(|route| route.get("corsPolicy").is_some_and(|policy| !policy.is_null()));
    let text = "a corsPolicy has no effect at a gateway with the Portcullis plugin, which answers preflights first; write it into browser.cors of the pluginConfig, or of `resources` in control.yaml";
    (at_gateway && has_policy).then(|| ["VirtualService ", &name(resource), ": ", text].concat())
}

/// A protected resource whose clients are not told where to get a token.
fn no_servers(resource: &Value) -> Option<String> {
    let told = module(resource).pointer("/pluginConfig/resource").filter(|_| is_plugin(resource))?;
    let servers = told.get("authorizationServers").and_then(Value::as_array);
    let text = "resource names no authorization server, so no client finds one by itself; name the platform's in resource.authorizationServers";
    let kind = resource["kind"].as_str().unwrap_or_default();
    servers.is_none_or(Vec::is_empty).then(|| [kind, " ", &name(resource), ": ", text].concat())
}

/// A plugin that refuses nobody.
fn not_enforced(resource: &Value) -> Option<String> {
    let mode = module(resource).pointer("/pluginConfig/mode").filter(|_| is_plugin(resource))?;
    let text = "mode dry-run refuses nobody; write enforce once what it records is as it should be";
    let kind = resource["kind"].as_str().unwrap_or_default();
    (mode == "dry-run").then(|| [kind, " ", &name(resource), ": ", text].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plugin(change: impl FnOnce(&mut Value)) -> Value {
        let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let mut plugin = json!({"kind": "WasmPlugin",
            "metadata": {"namespace": "n", "name": "p", "labels": {PART_OF.0: PART_OF.1}},
            "spec": {"pluginName": "gateway", "pluginConfig": {"role": "edge", "domain": "example.com",
                "snapshot": {"upstream": "outbound|9700||control.example", "key": key}}}});
        change(&mut plugin);
        plugin
    }

    fn told(change: impl FnOnce(&mut Value)) -> Vec<String> {
        errors(&plugin(change)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_filter_would_refuse_is_named_with_its_field() {
        assert_eq!(told(|_| ()), Vec::<String>::new());
        let mode = told(|plugin| plugin["spec"]["pluginConfig"]["mode"] = json!("enforced"));
        assert_eq!(mode, [r#"spec.pluginConfig.mode: "enforced" is not a mode; write enforce or dry-run"#]);
        let many = told(|plugin| plugin["spec"]["pluginConfig"] = json!({"role": "edge", "tokn": 1}));
        assert!(many.len() > 2 && many.iter().all(|e| e.starts_with("spec.pluginConfig.")), "{many:?}");
        let none = told(|plugin| plugin["spec"]["pluginConfig"] = Value::Null);
        assert!(none[0].starts_with("spec.pluginConfig: cannot be read"), "{none:?}");
        let open = told(|plugin| plugin["spec"]["failStrategy"] = json!("FAIL_OPEN"));
        assert!(open[0].starts_with("spec.failStrategy: lets every request through"), "{open:?}");
        assert_eq!(
            told(|plugin| plugin["spec"]["failStrategy"] = json!("FAIL_RELOAD")),
            Vec::<String>::new()
        );
        let network = told(|plugin| plugin["spec"]["type"] = json!("NETWORK"));
        assert!(
            network.len() == 1 && network[0].starts_with("spec.type: runs the module on connections"),
            "{network:?}"
        );
        assert_eq!(told(|plugin| plugin["spec"]["type"] = json!("HTTP")), Vec::<String>::new());
        let key = told(|plugin| {
            plugin["spec"]["pluginConfig"]["snapshot"]["key"] =
                json!(["A".repeat(43), "=".to_owned()].concat());
        });
        assert!(
            key.len() == 1 && key[0].starts_with("spec.pluginConfig.snapshot.key: is the placeholder"),
            "{key:?}"
        );
        let root = told(|plugin| plugin["spec"]["pluginName"] = json!("gatway"));
        assert!(root[0].starts_with("spec.pluginName: \"gatway\" is no root id"), "{root:?}");
    }

    #[test]
    fn a_traffic_extension_is_looked_at_as_the_plugin_that_it_replaces() {
        let extension = |change: &dyn Fn(&mut Value)| {
            let mut extension = plugin(|_| ());
            extension["kind"] = json!("TrafficExtension");
            extension["spec"] = json!({"wasm": extension["spec"]});
            change(&mut extension);
            extension
        };
        let good = extension(&|_| ());
        assert!(is_plugin(&good) && errors(&good).is_empty());
        let open = errors(&extension(&|one| one["spec"]["wasm"]["failStrategy"] = json!("FAIL_OPEN")));
        assert!(open.len() == 1 && open[0].field == "spec.wasm.failStrategy", "{open:?}");
        let mode = errors(&extension(&|one| one["spec"]["wasm"]["pluginConfig"]["mode"] = json!("off")));
        assert!(mode.len() == 1 && mode[0].field == "spec.wasm.pluginConfig.mode", "{mode:?}");
        let told = extension(&|one| {
            one["spec"]["wasm"]["pluginConfig"]["resource"] = json!({"url": "https://a.test"})
        });
        assert!(
            warnings(&told)[0].starts_with("TrafficExtension n/p: resource names no"),
            "{:?}",
            warnings(&told)
        );
        assert!(!is_plugin(&extension(&|one| one["spec"] = json!({"lua": {"inlineCode": ""}}))));
    }

    #[test]
    fn a_cors_policy_that_the_plugin_hides_is_told() {
        let service = |gateways: Value, policy: Value| {
            warnings(&json!({"kind": "VirtualService", "metadata": {"namespace": "n", "name": "v"},
                "spec": {"gateways": gateways, "http": [{"route": []}, {"route": [], "corsPolicy": policy}]}}))
        };
        let policy = json!({"allowOrigins": [{"exact": "https://a.test"}]});
        let told = service(json!(["ingress"]), policy.clone());
        assert!(told[0].starts_with("VirtualService n/v: a corsPolicy has no effect"), "{told:?}");
        assert_eq!(service(json!(["mesh", "istio-system/ingress"]), policy.clone()).len(), 1);
        assert_eq!(service(json!(["mesh"]), policy.clone()), Vec::<String>::new());
        assert_eq!(service(json!(null), policy), Vec::<String>::new(), "without gateways it is the mesh's");
        assert_eq!(service(json!(["ingress"]), json!(null)), Vec::<String>::new());
        assert_eq!(warnings(&plugin(|_| ())), Vec::<String>::new());
    }

    #[test]
    fn a_resource_without_an_authorization_server_is_told() {
        let with = |resource: Value| {
            warnings(&plugin(|plugin| plugin["spec"]["pluginConfig"]["resource"] = resource)).len()
        };
        assert_eq!(with(json!({"url": "https://a.test/"})), 1);
        assert_eq!(with(json!({"url": "https://a.test/", "authorizationServers": ["https://b.test"]})), 0);
    }

    #[test]
    fn a_plugin_that_refuses_nobody_is_told() {
        let mode = |mode: &str| warnings(&plugin(|one| one["spec"]["pluginConfig"]["mode"] = json!(mode)));
        assert_eq!(mode("enforce"), Vec::<String>::new());
        assert!(mode("dry-run")[0].starts_with("WasmPlugin n/p: mode dry-run refuses nobody"));
    }

    #[test]
    fn other_resources_are_not_ours() {
        assert!(is_plugin(&plugin(|_| ())));
        assert!(!is_plugin(&plugin(|plugin| plugin["kind"] = json!("EnvoyFilter"))));
        assert!(!is_plugin(&plugin(|plugin| plugin["metadata"]["labels"] = json!({}))));
        assert!(!is_plugin(&json!("text")) && name(&plugin(|_| ())) == "n/p");
    }
}
