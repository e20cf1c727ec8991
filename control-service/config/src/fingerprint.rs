//! Short names of what a configuration says, part by part, by which replicas see that theirs differ, and where.

use std::collections::BTreeMap;

use portcullis_control_snapshot::entries::{EntryError, json};
use portcullis_protocol::audit::{hex, keyed_hash};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::difference::Document;
use super::issuer::IssuerConfig;
use super::keys::KeySource;

/// The sections that are each replica's own: where it listens, where its files lie, what it logs. Everything else replicas
/// must have alike.
const OWN: [&str; 3] = ["listeners", "store", "log"];

/// Each of this section's fields is a part of its own, but for those that name the mesh token.
const MESH: &str = "mesh";

/// The part of the mesh token, which no field holds.
const MESH_TOKEN: &str = "the mesh token";

/// A name for each part of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(BTreeMap<String, String>);

impl Fingerprint {
    /// As it is written; `None` of another text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// To be read by [`Self::read`].
    #[must_use]
    pub fn to_text(&self) -> String {
        // A map of texts can be written at any time.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The parts that are not the same in both.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let all = self.0.keys().chain(other.0.keys().filter(|part| !self.0.contains_key(*part)));
        all.filter(|part| self.0.get(*part) != other.0.get(*part)).cloned().collect()
    }

    /// Names what is written, with defaults, and what files hold: the mesh token, and keys of issuers.
    pub(crate) fn of(
        document: &Document,
        issuers: &[IssuerConfig],
        mesh_token_digest: &[u8; 32],
        key: &[u8; 32],
    ) -> Result<Self, EntryError> {
        let name = |said: &[u8]| hex(keyed_hash(key, said).first_chunk::<8>().unwrap_or(&[0; 8]));
        let mut parts = BTreeMap::new();
        for (part, said) in parts_of(document.value()) {
            let held = if part == "issuers" { keys_of(issuers)? } else { Vec::new() };
            parts.insert(part, name(&json(&(without_files(said), held))?));
        }
        parts.insert(MESH_TOKEN.to_owned(), name(mesh_token_digest));
        Ok(Self(parts))
    }
}

/// What replicas must have alike, by name.
fn parts_of(document: &Value) -> Vec<(String, &Value)> {
    let mut parts = Vec::new();
    for (section, said) in document.as_object().into_iter().flatten() {
        match (section.as_str(), said) {
            (own, _) if OWN.contains(&own) => {}
            (MESH, Value::Object(fields)) => {
                let alike = fields.iter().filter(|(name, _)| !name.starts_with("token"));
                parts.extend(alike.map(|(name, said)| ([MESH, ".", name].concat(), said)));
            }
            (section, said) => parts.push((section.to_owned(), said)),
        }
    }
    parts
}

/// The keys of issuers that are not fetched.
fn keys_of(issuers: &[IssuerConfig]) -> Result<Vec<Vec<u8>>, EntryError> {
    let held = |keys: &KeySource| match keys {
        KeySource::Inline(keys) => json(keys),
        KeySource::Shared(secret) => Ok(secret.reveal().to_vec()),
        KeySource::KeySet(_) | KeySource::Discovery(_) => Ok(Vec::new()),
    };
    issuers.iter().map(|issuer| held(&issuer.keys)).collect()
}

/// What is said, without where files lie: each replica may have them elsewhere.
fn without_files(said: &Value) -> Value {
    match said {
        Value::Object(members) => {
            let told = members.iter().filter(|(name, _)| !name.ends_with("File"));
            Value::Object(told.map(|(name, value)| (name.clone(), without_files(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_files).collect()),
        other => other.clone(),
    }
}
