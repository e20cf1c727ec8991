//! The printed schema of `pluginConfig`, held against the filter's own parser.

use portcullis_plugin_check as check;
use serde_json::{Map, Value, json};

const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// A plugin of ours.
pub(crate) fn plugin(config: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut plugin = json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
        "metadata": {"name": "p", "namespace": "default", "labels": {"app.kubernetes.io/part-of": "portcullis"}},
        "spec": {"url": format!("oci://registry.test/portcullis@sha256:{}", "0".repeat(64)), "phase": "AUTHN",
            "priority": 1000, "pluginName": "gateway", "failStrategy": "FAIL_RELOAD", "pluginConfig": config}});
    change(&mut plugin["spec"]);
    plugin
}

/// With every field that a gateway's may have.
pub(crate) fn edge() -> Value {
    json!({"role": "edge", "mode": "dry-run", "domain": "example.com", "apiKeyHeader": "x-key", "readyPath": "/ready",
        "snapshot": {"upstream": "outbound|9700||control.test", "authority": "control.test", "key": KEY,
            "staleAfterSeconds": 300, "pollSeconds": 25},
        "audit": {"maxWaiting": 100, "batch": 10},
        "streams": {"recordAfterSeconds": 1, "staleGraceSeconds": 30},
        "workload": true, "platformPaths": true, "platformHosts": [{"name": "admin", "paths": ["/v1/"]}],
        "tokens": {"headers": [{"name": "x-token", "prefix": "Bearer "}], "cookie": "c", "query": "q", "keep": true},
        "resource": {"url": "https://api.example.com/mcp", "challenge": "mcp",
            "authorizationServers": ["https://login.example.com/"], "scopesSupported": ["a"], "requiredScopes": ["a"]},
        "browser": {"cors": {"origins": ["https://app.example.com"], "methods": ["GET"], "headers": ["accept"],
            "exposedHeaders": ["x-a"], "credentials": true, "maxAgeSeconds": 60}}})
}

pub(crate) fn sidecar() -> Value {
    json!({"role": "sidecar", "cluster": "acme-1", "domain": "example.com",
        "snapshot": {"upstream": "outbound|9700||control.test", "key": KEY}})
}

/// What `check` finds, which is the filter's own parser.
pub(crate) fn parsed(config: &Value) -> bool {
    check::errors(&plugin(config, |_| ())).is_empty()
}

/// Every way to spoil what a schema describes, each with the path of what is spoilt.
pub(crate) fn spoilt(schema: &Value, good: &Value, path: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let within =
        |field: &str| [path, field].iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(".");
    if let (Some(fields), Some(known)) = (schema["properties"].as_object(), good.as_object()) {
        let with = |field: &str, value: Option<Value>| {
            let mut changed: Map<String, Value> = known.clone();
            changed.remove(field);
            changed.extend(value.map(|value| (field.to_owned(), value)));
            (within(field), Value::Object(changed))
        };
        all.push(with("tokn", Some(json!("x"))));
        for field in schema["required"].as_array().into_iter().flatten() {
            all.push(with(field.as_str().unwrap(), None));
        }
        for (field, inner) in fields.iter().filter(|(field, _)| known.contains_key(*field)) {
            let spoilt = spoilt(&used(inner), &known[field], field);
            let under = |(place, value): (String, Value)| (place, with(field, Some(value)).1);
            all.extend(spoilt.into_iter().map(under).map(|(place, value)| (within(&place), value)));
        }
    }
    if let Some(item) = good.as_array().and_then(|items| items.first()) {
        let inner = spoilt(&used(&schema["items"]), item, path);
        all.extend(inner.into_iter().map(|(place, value)| (place, json!([value]))));
    }
    all.extend(forms(schema).into_iter().map(|value| (path.to_owned(), value)));
    all
}

/// The schema of what is written, of one that may be absent.
fn used(schema: &Value) -> Value {
    let alternatives =
        schema["anyOf"].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null"));
    alternatives.unwrap_or(schema).clone()
}

/// Values of another form than a schema's, or out of its bounds.
fn forms(schema: &Value) -> Vec<Value> {
    let is = |name: &str| schema["type"] == name || schema["type"][0] == name;
    let mut wrong = vec![if is("string") || schema["enum"].is_array() { json!(7) } else { json!("seven") }];
    if schema["enum"].is_array() {
        wrong.push(json!("no such thing"));
    }
    if schema["pattern"].is_string() {
        wrong.extend([json!(" "), json!("")]);
    }
    if schema["minLength"] == 1 {
        wrong.push(json!(""));
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        wrong.push(json!(vec!["https://a.test"; usize::try_from(most).unwrap() + 1]));
    }
    if is("integer") {
        let bound = |name: &str| schema[name].as_i64().unwrap();
        wrong.extend([json!(bound("minimum") - 1), json!(bound("maximum") + 1), json!(1.5)]);
    }
    wrong
}

#[test]
fn what_the_filter_refuses_is_refused_by_the_schema() {
    let schema = check::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for good in [edge(), sidecar()] {
        assert!(parsed(&good) && validator.is_valid(&good), "{good}");
        let all = spoilt(&schema, &good, "");
        assert!(all.len() > 12, "{all:#?}");
        for (path, bad) in all {
            assert!(!parsed(&bad), "the filter takes {path}: {bad}");
            assert!(!validator.is_valid(&bad), "the schema takes {path}: {bad}");
        }
    }
}

/// Both know the fields that the parser names when it meets another one.
#[test]
fn the_schema_has_the_fields_of_the_parser_and_no_other() {
    fn names(schema: &Value, path: &str, all: &mut Vec<(String, Vec<String>)>) {
        let schema = used(schema);
        let schema = if schema["items"].is_object() { schema["items"].clone() } else { schema };
        let Some(fields) = schema["properties"].as_object() else { return };
        let mut known: Vec<String> = fields.keys().cloned().collect();
        known.sort();
        all.push((path.to_owned(), known));
        for (field, inner) in fields {
            names(inner, &[path, "/", field].concat(), all);
        }
    }
    let mut sections = Vec::new();
    names(&check::schema(), "", &mut sections);
    assert_eq!(sections.len(), 10, "{sections:?}");
    for (path, fields) in sections {
        let mut config = edge();
        let place = config.pointer_mut(&path).unwrap();
        let place = if place.is_array() { &mut place[0] } else { place };
        place["tokn"] = json!(1);
        let errors = check::errors(&plugin(&config, |_| ()));
        let told = errors.iter().find_map(|one| one.problem.split_once("known are ")).unwrap().1;
        let mut known: Vec<&str> = told.split(", ").collect();
        known.sort_unstable();
        assert_eq!(fields, known, "{path}");
    }
}

/// The successor of a `WasmPlugin` with the same module.
pub(crate) fn extension(change: impl FnOnce(&mut Value)) -> Value {
    let mut extension = plugin(&edge(), |_| ());
    let mut module = extension["spec"].take();
    let (phase, priority) = (module["phase"].take(), module["priority"].take());
    module.as_object_mut().unwrap().retain(|name, _| name != "phase" && name != "priority");
    extension["kind"] = json!("TrafficExtension");
    extension["spec"] = json!({"phase": phase, "priority": priority, "wasm": module});
    change(&mut extension["spec"]);
    extension
}

#[test]
fn a_traffic_extension_is_looked_at_as_the_plugin_that_it_replaces() {
    let errors = |change: &dyn Fn(&mut Value)| {
        let found = check::errors(&extension(change));
        found.into_iter().map(|error| error.field).collect::<Vec<_>>()
    };
    assert!(check::is_plugin(&extension(|_| ())) && errors(&|_| ()).is_empty());
    assert_eq!(errors(&|spec| spec["wasm"]["failStrategy"] = json!("FAIL_OPEN")), ["spec.wasm.failStrategy"]);
    let mode = errors(&|spec| spec["wasm"]["pluginConfig"]["mode"] = json!("off"));
    assert_eq!(mode, ["spec.wasm.pluginConfig.mode"]);
    let silent =
        extension(|spec| spec["wasm"]["pluginConfig"]["resource"] = json!({"url": "https://a.test"}));
    let warned = check::warnings(&silent);
    assert!(warned[0].starts_with("TrafficExtension default/p: resource names no"), "{warned:?}");
    assert!(!check::is_plugin(&extension(|spec| *spec = json!({"lua": {"inlineCode": ""}}))));
}
