//! In what two files differ, field by field, and what of it a running service takes over.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_control_domain::configuration::{Difference, Effect};
use serde_json::{Map, Value, json};

use crate::schema::FIELDS;

/// The fields that a running service takes over, with all below them: those of [`Policy`](crate::Policy).
const LIVE: [&str; 11] = [
    "mesh.gateways",
    "mesh.sidecars",
    "mesh.tunnelGateways",
    "issuers",
    "platformCallers",
    "tenantLimits",
    "jwksRefreshSeconds",
    "introspection",
    "workloads",
    "sourceRules",
    "resources",
];

/// What tells the entries of a list apart, by the first that they have.
const NAMES: [&str; 5] = ["name", "issuer", "spiffeId", "cluster", "clusters"];

/// A configuration as it is written, with the defaults of what is not said. It names files and never says what they hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Document(Value);

impl Document {
    pub(crate) fn new(written: &serde_norway::Value) -> Result<Self, serde_json::Error> {
        Ok(Self(with_defaults(&FIELDS, serde_json::to_value(written)?)))
    }

    /// What a service says that it uses.
    #[must_use]
    pub fn told(settings: Value) -> Self {
        Self(settings)
    }

    /// Its fields.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// This one, with those fields of another that a running service takes over.
    pub(crate) fn with_live_fields_of(&self, new: &Self) -> Self {
        let mut value = self.0.clone();
        for field in LIVE {
            let (section, name) = field.rsplit_once('.').unwrap_or(("", field));
            let section = if section.is_empty() { String::new() } else { ["/", section].concat() };
            let wanted = new.0.pointer(&section).and_then(|fields| fields.get(name)).cloned();
            let Some(Value::Object(fields)) = value.pointer_mut(&section) else { continue };
            match wanted {
                Some(wanted) => fields.insert(name.to_owned(), wanted),
                None => fields.remove(name),
            };
        }
        Self(value)
    }

    /// The first of these fields that says the same in both: what it names holds something else.
    pub(crate) fn same_name(&self, new: &Self, fields: &[&str]) -> Option<Difference> {
        fields.iter().find_map(|field| {
            let pointer = ["/", &field.replace('.', "/")].concat();
            let running = self.0.pointer(&pointer)?.clone();
            let file = new.0.pointer(&pointer).filter(|file| **file == running)?.clone();
            let (field, effect) = ((*field).to_owned(), effect(field));
            Some(Difference { field, running: Some(running), file: Some(file), effect })
        })
    }
}

/// Puts in what is meant where nothing is said, so that saying it is no difference.
fn with_defaults(schema: &'static Value, value: Value) -> Value {
    let schema = resolved(schema);
    match (value, schema.get("properties").and_then(Value::as_object)) {
        (Value::Object(mut members), Some(properties)) => {
            members.retain(|_, value| !value.is_null());
            for (name, property) in properties {
                let meant = match members.remove(name) {
                    Some(given) => Some(with_defaults(property, given)),
                    None => default_of(resolved(property)),
                };
                members.extend(meant.map(|meant| (name.clone(), meant)));
            }
            Value::Object(members)
        }
        (Value::Array(items), _) => {
            let item = schema.get("items").unwrap_or(&Value::Null);
            Value::Array(items.into_iter().map(|value| with_defaults(item, value)).collect())
        }
        (other, _) => other,
    }
}

/// What is meant where a field is not there: its default, or a section of which nothing must be said.
fn default_of(property: &'static Value) -> Option<Value> {
    let open = property.get("x-section").is_some() && property.get("required").is_none();
    let section = || with_defaults(property, Value::Object(Map::new()));
    let section = open.then(section).filter(|section| section.as_object().is_some_and(|s| !s.is_empty()));
    property.get("default").cloned().or(section)
}

/// What a schema refers to, or itself.
fn resolved(schema: &'static Value) -> &'static Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
    pointer.and_then(|pointer| FIELDS.pointer(pointer)).unwrap_or(schema)
}

/// In what a file differs from what is in use.
#[must_use]
pub fn differences(running: &Document, file: &Document) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(&running.0), Some(&file.0), &mut found);
    found
}

fn compare(field: &str, running: Option<&Value>, file: Option<&Value>, found: &mut Vec<Difference>) {
    if running == file {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (running, file) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let inner = if field.is_empty() { name.clone() } else { [field, ".", name].concat() };
            compare(&inner, old.get(name), new.get(name), found);
        }
        return;
    }
    if let (Some(old), Some(new)) = (running.and_then(Entries::of), file.and_then(Entries::of)) {
        return compare_entries(field, &old, &new, found);
    }
    let (running, file, effect) = (running.cloned(), file.cloned(), effect(field));
    found.push(Difference { field: field.to_owned(), running, file, effect });
}

/// The entries of a list that have names of their own.
struct Entries<'a> {
    order: Vec<String>,
    by_name: BTreeMap<String, &'a Value>,
}

impl<'a> Entries<'a> {
    /// `None` when an entry has no name, or two have the same.
    fn of(list: &'a Value) -> Option<Self> {
        let items = list.as_array()?;
        let order = items.iter().map(name_of).collect::<Option<Vec<_>>>()?;
        let by_name: BTreeMap<_, _> = order.iter().cloned().zip(items).collect();
        (by_name.len() == order.len()).then_some(Self { order, by_name })
    }

    /// The names that another list has, too, in this one's order.
    fn shared(&self, other: &Self) -> Vec<&String> {
        self.order.iter().filter(|name| other.by_name.contains_key(*name)).collect()
    }
}

fn compare_entries(field: &str, old: &Entries<'_>, new: &Entries<'_>, found: &mut Vec<Difference>) {
    let gone = old.order.iter().filter(|name| !new.by_name.contains_key(*name));
    for name in new.order.iter().chain(gone) {
        let inner = [field, "[", name, "]"].concat();
        compare(&inner, old.by_name.get(name).copied(), new.by_name.get(name).copied(), found);
    }
    if old.shared(new) != new.shared(old) {
        // Their order: of source rules the first that fits counts.
        let (running, file) = (Some(json!(old.order)), Some(json!(new.order)));
        found.push(Difference { field: field.to_owned(), running, file, effect: effect(field) });
    }
}

fn name_of(entry: &Value) -> Option<String> {
    match NAMES.iter().find_map(|name| entry.get(name))? {
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => {
            let names = names.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
            Some(names.join(","))
        }
        _ => None,
    }
}

fn effect(field: &str) -> Effect {
    let within = |live: &&str| {
        field.strip_prefix(*live).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    if LIVE.iter().any(within) { Effect::Live } else { Effect::Restart }
}
