use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A problem document (RFC 9457) with a stable `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemDocument {
    /// `about:blank`: the title is that of the reason.
    pub r#type: String,
    /// What is wrong, in general.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong here, and what to change.
    pub detail: String,
    /// The stable code.
    pub reason: String,
}
