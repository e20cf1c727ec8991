//! Which of the two targets guards the ingress gateway, and how the native one gets there.
//!
//! The manifests say it once, as `WasmPlugin`s. For a native gateway each of them becomes an `EnvoyFilter` that
//! loads the same root id with the same `pluginConfig`, in the same place of the filter chain, so that no
//! second copy of them can differ.

use serde_json::{Value, json};

/// The kind of module that a proxy runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// `portcullis.wasm`, by `WasmPlugin`s.
    #[default]
    Wasm,
    /// `libportcullis.so`, by `EnvoyFilter`s.
    Native,
}

/// The label by which plugins select the ingress gateway.
const INGRESS: (&str, &str) = ("istio", "ingressgateway");

const FILTER: &str = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Whether a resource is a `WasmPlugin` of the ingress gateway.
pub(crate) fn is_gateway_plugin(resource: &Value) -> bool {
    resource["kind"] == "WasmPlugin" && resource["spec"]["selector"]["matchLabels"][INGRESS.0] == INGRESS.1
}

/// The `EnvoyFilter` that puts the native module where this `WasmPlugin` would be.
#[must_use]
pub fn native(plugin: &Value) -> Value {
    let spec = &plugin["spec"];
    let patches: Vec<Value> = ports(spec).into_iter().map(|port| patch(spec, port)).collect();
    let mut metadata = plugin["metadata"].clone();
    // What `components/admission` asks of an EnvoyFilter at a gateway.
    let why = "puts the native module where the WasmPlugin of its name would be";
    metadata["annotations"] = json!({"portcullis.dev/reviewed": why});
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": metadata,
        "spec": {
            // Both count upwards: the plugin of the highest priority runs first, and the patch of the highest
            // is applied last, which puts it before the others.
            "priority": spec["priority"],
            "workloadSelector": {"labels": spec["selector"]["matchLabels"]},
            "configPatches": patches,
        },
    })
}

/// The ports that a plugin names; `None` alone when it is for all of them.
fn ports(spec: &Value) -> Vec<Option<Value>> {
    let matches = spec["match"].as_array().into_iter().flatten();
    let named = matches.filter_map(|one| one["ports"].as_array()).flatten();
    let ports: Vec<_> = named.map(|port| Some(port["number"].clone())).collect();
    if ports.is_empty() { vec![None] } else { ports }
}

fn patch(spec: &Value, port: Option<Value>) -> Value {
    let mut filter = json!({"name": MANAGER});
    // Statistics come last, right before the router; authentication comes before everything.
    let operation = if spec["phase"] == "STATS" {
        filter["subFilter"] = json!({"name": "envoy.filters.http.router"});
        "INSERT_BEFORE"
    } else {
        "INSERT_FIRST"
    };
    let mut listener = json!({"filterChain": {"filter": filter}});
    if let Some(port) = port {
        listener["portNumber"] = port;
    }
    json!({
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": listener},
        "patch": {"operation": operation, "value": filter_of(spec)},
    })
}

/// Envoy's filter. It is wrapped: the pinned istiod knows an older form of it, without the namespace of its
/// metrics, and would leave out what it does not know. What is wrapped it passes on as it is.
fn filter_of(spec: &Value) -> Value {
    let root_id = spec["pluginName"].as_str().unwrap_or_default();
    json!({
        "name": format!("portcullis.{root_id}"),
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": format!("type.googleapis.com/{FILTER}"),
            "value": {
                "dynamic_module_config": {"name": "portcullis", "metrics_namespace": "portcullis"},
                "filter_name": root_id,
                // Handed on as JSON.
                "filter_config": {
                    "@type": "type.googleapis.com/google.protobuf.Struct",
                    "value": spec["pluginConfig"],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(spec: Value) -> Value {
        let mut all = json!({
            "selector": {"matchLabels": {"istio": "ingressgateway"}},
            "pluginName": "gateway", "phase": "AUTHN", "priority": 1000,
            "pluginConfig": {"role": "edge", "workload": true},
        });
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({"kind": "WasmPlugin", "metadata": {"name": "p", "namespace": "istio-system"}, "spec": all})
    }

    #[test]
    fn a_plugin_keeps_its_root_id_its_configuration_and_its_place() {
        let plugin = plugin(json!({"match": [{"mode": "CLIENT_AND_SERVER", "ports": [{"number": 9443}]}]}));
        assert!(is_gateway_plugin(&plugin));
        let filter = native(&plugin);
        assert_eq!(filter["metadata"]["name"], plugin["metadata"]["name"]);
        assert_eq!(filter["spec"]["priority"], 1000);
        let patches = filter["spec"]["configPatches"].as_array().unwrap();
        assert_eq!(patches.len(), 1);
        assert_eq!(patches[0]["match"]["listener"]["portNumber"], 9443);
        assert_eq!(patches[0]["patch"]["operation"], "INSERT_FIRST");
        let config = &patches[0]["patch"]["value"]["typed_config"]["value"];
        assert_eq!(config["filter_name"], "gateway");
        assert_eq!(config["filter_config"]["value"], plugin["spec"]["pluginConfig"]);
    }

    #[test]
    fn a_plugin_for_all_ports_stays_one_and_statistics_stay_last() {
        let filter = native(&plugin(json!({"phase": "STATS", "match": [{"mode": "CLIENT_AND_SERVER"}]})));
        let patches = filter["spec"]["configPatches"].as_array().unwrap();
        assert_eq!(patches.len(), 1);
        assert!(patches[0]["match"]["listener"]["portNumber"].is_null());
        assert_eq!(patches[0]["patch"]["operation"], "INSERT_BEFORE");
    }

    #[test]
    fn a_plugin_of_a_sidecar_is_left_alone() {
        assert!(!is_gateway_plugin(&plugin(json!({"selector": {"matchLabels": {"app": "data-api"}}}))));
    }
}
