//! The pods of the table in an overlay, and the overlay's policies: which of them speak of which pod.

use std::collections::BTreeMap;

use serde_json::Value;

use super::table::{Overlay, Table};
use crate::rendered::{Rendered, kind_and_name};

pub(crate) type Labels = BTreeMap<String, String>;

pub(crate) struct Pod {
    /// Of the workload in the table.
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
}

pub(crate) struct World {
    pub(crate) pods: Vec<Pod>,
    /// The labels of each namespace, which all have the one with its name.
    pub(crate) namespaces: BTreeMap<String, Labels>,
    pub(crate) policies: Vec<Value>,
}

/// A side of a policy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ingress,
    Egress,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    fn policy_type(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Egress => "Egress",
        }
    }

    /// The rules of a policy for this side.
    pub(crate) fn rules(self, policy: &Value) -> &[Value] {
        let rules = match self {
            Self::Ingress => &policy["spec"]["ingress"],
            Self::Egress => &policy["spec"]["egress"],
        };
        rules.as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// The other ends that a rule names; `None`: all.
    pub(crate) fn peers(self, rule: &Value) -> Option<&[Value]> {
        let peers = match self {
            Self::Ingress => &rule["from"],
            Self::Egress => &rule["to"],
        };
        peers.as_array().map(Vec::as_slice).filter(|peers| !peers.is_empty())
    }
}

impl World {
    pub(crate) fn new(table: &Table, overlay: &Overlay, rendered: &Rendered) -> Self {
        let mut world = Self { pods: Vec::new(), namespaces: BTreeMap::new(), policies: Vec::new() };
        for workload in table.workloads_of(overlay) {
            let namespace = workload.namespace(overlay);
            let made = workload.deployed.as_deref().and_then(|one| labels_of_pods(rendered, namespace, one));
            let labels = made.unwrap_or_else(|| {
                assert!(workload.why.is_some(), "{}: nothing makes {}", overlay.path, workload.name);
                workload.labels.clone()
            });
            world.pods.push(Pod { name: workload.name.clone(), namespace: namespace.to_owned(), labels });
            let labels = world.namespaces.entry(namespace.to_owned()).or_default();
            labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
            labels.extend(workload.namespace_labels.clone());
        }
        for resource in rendered.resources() {
            match resource["kind"].as_str() {
                Some("Namespace") => {
                    let name = resource["metadata"]["name"].as_str().unwrap();
                    let known = world.namespaces.get_mut(name);
                    known
                        .unwrap_or_else(|| panic!("{}: the table has nothing in {name}", overlay.path))
                        .extend(labels(&resource["metadata"]["labels"]));
                }
                Some("NetworkPolicy") => world.policies.push(resource.clone()),
                _ => {}
            }
        }
        world.inject();
        world
    }

    /// What Istio's injector writes on pods to which it gives a proxy.
    fn inject(&mut self) {
        for pod in &mut self.pods {
            let everywhere =
                self.namespaces[&pod.namespace].get("istio-injection").is_some_and(|on| on == "enabled");
            let asked = pod.labels.get("sidecar.istio.io/inject").map(String::as_str);
            if asked == Some("true") || (everywhere && asked != Some("false")) {
                pod.labels.insert("service.istio.io/canonical-name".to_owned(), pod.name.replace(' ', "-"));
            }
        }
    }

    pub(crate) fn pod(&self, name: &str) -> &Pod {
        self.pods.iter().find(|pod| pod.name == name).unwrap()
    }

    /// The policies that say what this pod may do on this side. Without one it may do all.
    pub(crate) fn policies_of<'a>(&'a self, pod: &'a Pod, side: Side) -> impl Iterator<Item = &'a Value> {
        self.policies.iter().filter(move |policy| {
            let types = policy["spec"]["policyTypes"].as_array();
            let types = types.unwrap_or_else(|| panic!("{}: no policyTypes", kind_and_name(policy)));
            policy["metadata"]["namespace"] == pod.namespace.as_str()
                && types.iter().any(|one| one == side.policy_type())
                && selects(&policy["spec"]["podSelector"], &pod.labels)
        })
    }

    pub(crate) fn is_governed(&self, name: &str, side: Side) -> bool {
        self.policies_of(self.pod(name), side).next().is_some()
    }

    /// The pods that a peer of a rule names.
    pub(crate) fn pods_of<'a>(&'a self, policy: &'a Value, peer: &'a Value) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().filter(move |pod| {
            let place = match &peer["namespaceSelector"] {
                Value::Null => policy["metadata"]["namespace"] == pod.namespace.as_str(),
                selector => selects(selector, &self.namespaces[&pod.namespace]),
            };
            let none = peer["ipBlock"].is_object();
            !none && place && (peer["podSelector"].is_null() || selects(&peer["podSelector"], &pod.labels))
        })
    }
}

/// The labels of the pods that a resource (`Deployment/name`) makes.
fn labels_of_pods(rendered: &Rendered, namespace: &str, resource: &str) -> Option<Labels> {
    let (kind, name) = resource.split_once('/')?;
    let all = rendered.all(kind, name);
    let made = all.into_iter().find(|one| one["metadata"]["namespace"] == namespace)?;
    Some(labels(template(made)?))
}

/// The labels that a resource gives to pods.
pub(crate) fn template(resource: &Value) -> Option<&Value> {
    let spec = &resource["spec"];
    let places =
        ["/template/metadata/labels", "/jobTemplate/spec/template/metadata/labels", "/podMetadata/labels"];
    places.iter().find_map(|place| spec.pointer(place))
}

pub(crate) fn labels(value: &Value) -> Labels {
    let members = value.as_object().into_iter().flatten();
    members.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// Whether a `LabelSelector` selects what has these labels. None of its fields may be one that is not known here.
pub(crate) fn selects(selector: &Value, labels: &Labels) -> bool {
    selector.as_object().unwrap().iter().all(|(field, value)| match field.as_str() {
        "matchLabels" => value
            .as_object()
            .unwrap()
            .iter()
            .all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str()),
        "matchExpressions" => value.as_array().unwrap().iter().all(|one| holds(one, labels)),
        other => panic!("a selector by {other}: {selector}"),
    })
}

fn holds(expression: &Value, labels: &Labels) -> bool {
    let value = labels.get(expression["key"].as_str().unwrap());
    let named = || {
        let values = expression["values"].as_array().unwrap();
        value.is_some_and(|value| values.iter().any(|one| one == value.as_str()))
    };
    match expression["operator"].as_str().unwrap() {
        "In" => named(),
        "NotIn" => !named(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        other => panic!("no operator of selectors: {other}"),
    }
}

#[test]
fn a_selector_selects_what_kubernetes_says_that_it_does() {
    use serde_json::json;
    let labels = labels(&json!({"app": "a", "tier": "core"}));
    let expression = |key: &str, operator: &str, values: &[&str]| {
        selects(&json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}), &labels)
    };
    assert!(selects(&json!({}), &labels));
    assert!(selects(&json!({"matchLabels": {"app": "a", "tier": "core"}}), &labels));
    assert!(!selects(&json!({"matchLabels": {"app": "a", "other": "core"}}), &labels));
    assert!(expression("app", "In", &["b", "a"]) && !expression("app", "In", &["b"]));
    assert!(expression("app", "NotIn", &["b"]) && !expression("app", "NotIn", &["a"]));
    assert!(expression("none", "NotIn", &["a"]) && !expression("none", "In", &["a"]));
    assert!(expression("app", "Exists", &[]) && !expression("none", "Exists", &[]));
    assert!(expression("none", "DoesNotExist", &[]) && !expression("app", "DoesNotExist", &[]));
}
