//! What is wrong with a `WasmPlugin` resource, before it is applied: Istio takes any `pluginConfig`, and one with
//! a mistake refuses every request.

use portcullis_engine::Plugin;
use portcullis_model::errors::FieldError;
use serde_json::Value;

use crate::{ROOTS, root};

/// What marks the resources of Portcullis.
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "portcullis");

/// Whether a resource is a plugin of ours: a `WasmPlugin` with the label `app.kubernetes.io/part-of: portcullis`.
#[must_use]
pub fn is_plugin(resource: &Value) -> bool {
    let label = resource.pointer("/metadata/labels").and_then(|labels| labels.get(PART_OF.0));
    resource.get("kind").is_some_and(|kind| kind == "WasmPlugin") && label.is_some_and(|l| l == PART_OF.1)
}

/// Its namespace and name, for messages.
#[must_use]
pub fn name(resource: &Value) -> String {
    let text = |path: &str| resource.pointer(path).and_then(Value::as_str).unwrap_or_default();
    [text("/metadata/namespace"), text("/metadata/name")].join("/")
}

/// Everything that is wrong with the root id and the `pluginConfig` of a plugin of ours, by the filter's own parser.
#[must_use]
pub fn errors(resource: &Value) -> Vec<FieldError> {
    let named = resource.pointer("/spec/pluginName").and_then(Value::as_str).unwrap_or_default();
    let Some(root) = root(named.as_bytes()) else {
        let known: Vec<&str> = ROOTS.iter().map(|root| root.id).collect();
        let problem = format!("{named:?} is no root id; write one of {}", known.join(", "));
        return vec![FieldError { field: "spec.pluginName".to_owned(), problem }];
    };
    let config = resource.pointer("/spec/pluginConfig").map(Value::to_string).unwrap_or_default();
    match Plugin::new(root, config.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.within("spec")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plugin(change: impl FnOnce(&mut Value)) -> Value {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
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
        let root = told(|plugin| plugin["spec"]["pluginName"] = json!("gatway"));
        assert!(root[0].starts_with("spec.pluginName: \"gatway\" is no root id"), "{root:?}");
    }

    #[test]
    fn other_resources_are_not_ours() {
        assert!(is_plugin(&plugin(|_| ())));
        assert!(!is_plugin(&plugin(|plugin| plugin["kind"] = json!("EnvoyFilter"))));
        assert!(!is_plugin(&plugin(|plugin| plugin["metadata"]["labels"] = json!({}))));
        assert!(!is_plugin(&json!("text")) && name(&plugin(|_| ())) == "n/p");
    }
}
