//! What a configuration file may say.

use std::sync::LazyLock;

use serde_json::Value;

/// The JSON schema of `control.yaml`, read.
pub(crate) static FIELDS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(SCHEMA).unwrap_or_default());

/// The JSON schema of `control.yaml`.
pub const SCHEMA: &str = include_str!("../../control.schema.json");
