//! What a configuration file may say.

/// The JSON schema of `control.yaml`.
pub const SCHEMA: &str = include_str!("../../control.schema.json");
