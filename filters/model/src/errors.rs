//! What is wrong in a configuration, all at once.

use std::collections::BTreeMap;

use serde_json::Value;

/// One thing that is wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pluginConfig.{field}: {problem}")]
pub struct ConfigError {
    /// Where, as a dotted path.
    pub field: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// What is wrong in a configuration, noted while it is read.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<ConfigError>);

impl Errors {
    /// Notes a problem.
    pub(crate) fn add(&mut self, field: &str, problem: impl Into<String>) {
        self.0.push(ConfigError { field: field.to_owned(), problem: problem.into() });
    }

    /// Notes every field that there is not.
    pub(crate) fn unknown(&mut self, prefix: &str, fields: &BTreeMap<String, Value>, known: &str) {
        for name in fields.keys() {
            self.add(&format!("{prefix}{name}"), format!("there is no such field; known are {known}"));
        }
    }

    /// The text of a field that must be there.
    pub(crate) fn required(&mut self, field: &str, value: Option<String>, hint: &str) -> String {
        match value {
            Some(text) if !text.is_empty() => text,
            _ => {
                self.add(field, format!("is required: {hint}"));
                String::new()
            }
        }
    }

    /// True when nothing was noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that was noted.
    pub(crate) fn into_list(self) -> Vec<ConfigError> {
        self.0
    }

    /// The fields of all that was noted.
    #[cfg(test)]
    pub(crate) fn into_fields(self) -> Vec<String> {
        self.0.into_iter().map(|error| error.field).collect()
    }

    /// A whole number within bounds. Numbers arrive as doubles (they pass through a protobuf
    /// `Struct`).
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value was checked to be whole and within u32 bounds"
    )]
    pub(crate) fn number(
        &mut self,
        field: &str,
        value: Option<f64>,
        default: u32,
        min: u32,
        max: u32,
    ) -> u32 {
        let Some(found) = value else { return default };
        if found.fract() == 0.0 && found >= f64::from(min) && found <= f64::from(max) {
            return found as u32;
        }
        self.add(field, format!("{found} is not a whole number from {min} to {max}"));
        default
    }
}
