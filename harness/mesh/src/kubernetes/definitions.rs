//! Definitions of the custom resources whose own ones cannot be had: made of the schemas that the manifests are held against.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{MeshError, Result};

/// Writes a file with a definition for each schema of a folder (`GROUP_VERSION_KIND.json`) whose kind no definition in
/// the other folders has.
pub(super) fn write_missing(real: &[PathBuf], schemas: &Path, target: &Path) -> Result<()> {
    let mut known = BTreeSet::new();
    for folder in real {
        known.append(&mut defined(folder)?);
    }
    let mut text = String::new();
    for file in files(schemas)? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = name.splitn(3, '_');
        let (Some(group), Some(version), Some(kind)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if known.contains(&[group, kind].join("/")) {
            continue;
        }
        let schema: Value = serde_json::from_str(&read(&file)?)
            .map_err(|error| MeshError::io("read", &file)(error.into()))?;
        let definition = serde_norway::to_string(&definition(group, version, &schema))
            .map_err(|error| MeshError::io("write", target)(std::io::Error::other(error)))?;
        text.push_str("---\n");
        text.push_str(&definition);
    }
    fs::write(target, text).map_err(MeshError::io("write", target))
}

/// `GROUP/kind` of every definition in a folder.
fn defined(folder: &Path) -> Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for file in files(folder)? {
        let text = read(&file)?;
        for document in serde_norway::Deserializer::from_str(&text) {
            let one = Value::deserialize(document)
                .map_err(|error| MeshError::Manifest { path: file.clone(), message: error.to_string() })?;
            let spec = &one["spec"];
            if let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["singular"].as_str()) {
                known.insert([group, kind].join("/"));
            }
        }
    }
    Ok(known)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(MeshError::io("list", folder))? {
        found.push(entry.map_err(MeshError::io("list", folder))?.path());
    }
    found.sort();
    Ok(found)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(MeshError::io("read", file))
}

fn definition(group: &str, version: &str, schema: &Value) -> Value {
    let kind = schema["properties"]["kind"]["const"].as_str().unwrap_or_default();
    let (singular, plural) = (kind.to_lowercase(), plural(&kind.to_lowercase()));
    let mut schema = structural(schema);
    // What every resource has is the API server's own.
    schema["properties"]["metadata"] = json!({"type": "object"});
    let scope = if kind.starts_with("Cluster") { "Cluster" } else { "Namespaced" };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "singular": singular, "plural": plural, "listKind": format!("{kind}List")},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

fn plural(singular: &str) -> String {
    match singular.strip_suffix('y') {
        Some(stem) => [stem, "ies"].concat(),
        None => [singular, "s"].concat(),
    }
}

/// A schema in the form that the API server asks for: fields that are not listed are refused anyway, and each node has one type.
fn structural(schema: &Value) -> Value {
    let Some(schema) = schema.as_object() else { return schema.clone() };
    let mut kept = Map::new();
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("const", _) | ("additionalProperties", Value::Bool(_)) => {}
            ("properties", Value::Object(fields)) => {
                let fields = fields.iter().map(|(name, field)| (name.clone(), structural(field)));
                kept.insert(key.clone(), fields.collect());
            }
            ("type", Value::Array(types)) => one_type(types, &mut kept),
            ("enum" | "default" | "required", _) => drop(kept.insert(key.clone(), value.clone())),
            (_, Value::Array(items)) => {
                kept.insert(key.clone(), items.iter().map(structural).collect());
            }
            _ => drop(kept.insert(key.clone(), structural(value))),
        }
    }
    let is = |kept: &Map<String, Value>, what: &str| kept.get("type").is_some_and(|one| one == what);
    let listed = kept.contains_key("properties") || kept.contains_key("additionalProperties");
    if schema.contains_key("const") {
        kept.insert("type".to_owned(), "string".into());
    } else if is(&kept, "object") && !listed || kept.is_empty() {
        kept.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
    }
    Value::Object(kept)
}

fn one_type(types: &[Value], kept: &mut Map<String, Value>) {
    let mut named = types.iter().filter(|one| *one != "null");
    match (named.next(), named.next()) {
        (Some(one), None) => {
            kept.insert("type".to_owned(), one.clone());
            kept.insert("nullable".to_owned(), true.into());
        }
        _ => drop(kept.insert("x-kubernetes-int-or-string".to_owned(), true.into())),
    }
}
