//! What is wrong in a configuration, all at once.

use std::cell::RefCell;
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

    /// A whole number within bounds, written as an integer or as a double; the default where there is none.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value was checked to be whole and within u32 bounds"
    )]
    pub(crate) fn number(&self, field: &str, value: Option<&Value>, default: u32, min: u32, max: u32) -> u32 {
        let Some(value) = value else { return default };
        let found = value.as_f64().unwrap_or(f64::NAN);
        if found.fract() == 0.0 && found >= f64::from(min) && found <= f64::from(max) {
            return found as u32;
        }
        self.add(field, format!("{value} is not a whole number from {min} to {max}"));
        default
    }
}
