//! What has to be done so that what is wanted is what is there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::resource::{Resource, ResourceId};

/// A resource of ours that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// What it is called.
    pub id: ResourceId,
    /// All of it, as it is there.
    pub body: Value,
}

/// A resource that is there and is not as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As it is wanted.
    pub resource: Resource,
    /// Paths of what differs.
    pub fields: Vec<String>,
}

/// The way from what is there to what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is not there.
    pub create: Vec<Resource>,
    /// What is there otherwise.
    pub change: Vec<Change>,
    /// What is there and is not wanted.
    pub delete: Vec<ResourceId>,
    /// How many are as they are wanted.
    pub same: usize,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.change.is_empty() && self.delete.is_empty()
    }
}

/// Compares. Everything is in the order of names.
#[must_use]
pub fn plan(wanted: &[Resource], present: &[Present]) -> Plan {
    let mut there: BTreeMap<&ResourceId, &Present> = present.iter().map(|one| (&one.id, one)).collect();
    let mut plan = Plan::default();
    for resource in wanted {
        match there.remove(&resource.id) {
            None => plan.create.push(resource.clone()),
            Some(found) => {
                let fields = differing(&resource.body, &found.body);
                if fields.is_empty() {
                    plan.same += 1;
                } else {
                    plan.change.push(Change { resource: resource.clone(), fields });
                }
            }
        }
    }
    plan.delete = there.into_keys().cloned().collect();
    plan
}

/// Paths at which what is there is not as it is wanted. A specification is ours as a whole: what it has besides counts.
/// Labels and annotations of others do not, nor does what only a server writes.
#[must_use]
pub fn differing(wanted: &Value, found: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for part in ["labels", "annotations"] {
        for (name, value) in wanted["metadata"][part].as_object().into_iter().flatten() {
            if found["metadata"][part][name] != *value {
                paths.push(format!("metadata.{part}.{name}"));
            }
        }
    }
    if let Some(spec) = wanted.get("spec") {
        compare("spec", spec, found.get("spec").unwrap_or(&Value::Null), &mut paths);
    }
    paths
}

fn compare(path: &str, wanted: &Value, found: &Value, paths: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                compare(&[path, ".", name].concat(), &wanted[name], &found[name], paths);
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (at, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                compare(&format!("{path}[{at}]"), wanted, found, paths);
            }
        }
        _ if wanted == found => {}
        _ => paths.push(path.to_owned()),
    }
}
