//! Resources as a file, and back.

use serde::Deserialize;
use serde_json::Value;

use crate::resource::{COMPONENT, Kind, MANAGED_BY, Resource, ResourceId};

/// Why a file is none of resources.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no YAML.
    #[error("{0}")]
    NotYaml(#[from] serde_norway::Error),
    /// A document is no resource that routes are made of, with our marks.
    #[error("document {0} is none of our resources")]
    Foreign(usize),
}

/// Resources as documents of YAML, which read back as what they were.
///
/// # Errors
/// When one cannot be written.
pub fn write<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Result<String, Unreadable> {
    let mut text = String::new();
    for resource in resources {
        text.push_str("---\n");
        text.push_str(&serde_norway::to_string(&resource.body)?);
    }
    Ok(text)
}

/// What a file of ours holds.
///
/// # Errors
/// [`Unreadable`]: then it is not one, or somebody has spoilt it.
pub fn read(text: &str) -> Result<Vec<(ResourceId, Value)>, Unreadable> {
    let mut all = Vec::new();
    for (at, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let body = Value::deserialize(document)?;
        // As which an empty text reads.
        if body.is_null() {
            continue;
        }
        let id = id_of(&body).filter(|_| is_ours(&body)).ok_or(Unreadable::Foreign(at + 1))?;
        all.push((id, body));
    }
    Ok(all)
}

fn id_of(body: &Value) -> Option<ResourceId> {
    let kind = Kind::of(body["apiVersion"].as_str()?, body["kind"].as_str()?)?;
    let metadata = &body["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default().to_owned();
    Some(ResourceId { kind, namespace, name: metadata["name"].as_str()?.to_owned() })
}

fn is_ours(body: &Value) -> bool {
    [MANAGED_BY, COMPONENT].into_iter().all(|(label, value)| body["metadata"]["labels"][label] == value)
}
