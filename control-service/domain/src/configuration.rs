//! What a running service uses of its configuration, and what a file says besides.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema;

/// What becomes of a changed field while the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is taken over.
    Live,
    /// It counts from the next start on.
    Restart,
}

/// A field in which a file and what is in use differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Its name; entries of a list are told by their own names: `issuers[https://idp.example.com].audiences`.
    pub field: String,
    /// What is in use; absent where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Value>,
    /// What the file says. The same as what is in use where the field names a file that holds something else now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Value>,
    /// What becomes of it.
    pub effect: Effect,
}

/// The configuration that a service uses. It names files and never says what they hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunningConfiguration {
    /// The fields in use, as `control.yaml` writes them, with their defaults.
    #[schemars(with = "schema::Settings")]
    pub settings: Value,
    /// What the file said when it was last read, and what is not in use until a restart.
    pub pending: Vec<Difference>,
    /// The fields for which the file was refused when it was last read: nothing of it is in use then.
    pub refused: Vec<String>,
}
