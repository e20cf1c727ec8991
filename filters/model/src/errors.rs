//! What is wrong in a configuration, all at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// One thing that is wrong in a configuration: in a `pluginConfig` or in the control service's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as a dotted path; empty for the whole.
    pub field: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl FieldError {
    /// The same error, told of a field that stands within `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        let field = match self.field.is_empty() {
            true => parent.to_owned(),
            false => format!("{parent}.{}", self.field),
        };
        Self { field, problem: self.problem }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.problem),
            field => write!(f, "{field}: {}", self.problem),
        }
    }
}

impl std::error::Error for FieldError {}

/// What is wrong in a configuration, noted while it is read. Many readers may note at once, so it is
/// written through a shared reference.
#[derive(Debug, Default)]
pub struct FieldErrors(RefCell<Vec<FieldError>>);

impl FieldErrors {
    /// Notes a problem.
    pub fn add(&self, field: &str, problem: impl Into<String>) {
        self.0.borrow_mut().push(FieldError { field: field.to_owned(), problem: problem.into() });
    }

    /// Notes every field that there is not.
    pub(crate) fn unknown(&self, prefix: &str, fields: &BTreeMap<String, Value>, known: &str) {
        for name in fields.keys() {
            self.add(&format!("{prefix}{name}"), format!("there is no such field; known are {known}"));
        }
    }

    /// The text of a field that must be there.
    pub(crate) fn required(&self, field: &str, value: Option<String>, hint: &str) -> String {
        match value {
            Some(text) if !text.is_empty() => text,
            _ => {
                self.add(field, format!("is required: {hint}"));
                String::new()
            }
        }
    }

    /// True when nothing was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// All that was noted.
    #[must_use]
    pub fn into_list(self) -> Vec<FieldError> {
        self.0.into_inner()
    }

    /// The fields of all that was noted.
    #[cfg(test)]
    pub(crate) fn into_fields(self) -> Vec<String> {
        self.0.into_inner().into_iter().map(|error| error.field).collect()
    }

    /// A whole number within bounds. Numbers arrive as doubles (they pass through a protobuf
    /// `Struct`).
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value was checked to be whole and within u32 bounds"
    )]
    pub(crate) fn number(&self, field: &str, value: Option<f64>, default: u32, min: u32, max: u32) -> u32 {
        let Some(found) = value else { return default };
        if found.fract() == 0.0 && found >= f64::from(min) && found <= f64::from(max) {
            return found as u32;
        }
        self.add(field, format!("{found} is not a whole number from {min} to {max}"));
        default
    }
}
