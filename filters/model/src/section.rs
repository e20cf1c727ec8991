//! Reading a configuration field by field, so that all that is wrong is found and each fault names its field.
//!
//! Not derived: what a derive makes of these fields was a tenth of the module's code, and stops at the first fault.

use serde_json::{Map, Value};

use crate::errors::FieldErrors;

/// An object whose fields are asked for by name; what nothing asked for is unknown. `null` is as good as nothing.
pub(crate) struct Section<'a> {
    path: String,
    fields: Option<&'a Map<String, Value>>,
    known: Vec<&'static str>,
    errors: &'a FieldErrors,
}

impl<'a> Section<'a> {
    /// The section that stands at a path; empty when the value is `null` or no object, which is noted.
    pub(crate) fn new(path: &str, value: &'a Value, errors: &'a FieldErrors) -> Self {
        if !value.is_null() && !value.is_object() {
            errors.add(path, "must be a mapping (name: value)");
        }
        Self { path: path.to_owned(), fields: value.as_object(), known: Vec::new(), errors }
    }

    /// The full name of a field of this section.
    pub(crate) fn name(&self, field: &str) -> String {
        match self.path.as_str() {
            "" => field.to_owned(),
            path => [path, ".", field].concat(),
        }
    }

    /// Where faults are noted.
    pub(crate) fn errors(&self) -> &'a FieldErrors {
        self.errors
    }

    /// Notes a fault of a field.
    pub(crate) fn error(&self, field: &str, problem: impl Into<String>) {
        self.errors.add(&self.name(field), problem);
    }

    /// Whether the field says anything.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.and_then(|fields| fields.get(field)).is_some_and(|value| !value.is_null())
    }

    fn take(&mut self, field: &'static str) -> Option<&'a Value> {
        self.known.push(field);
        self.fields?.get(field).filter(|value| !value.is_null())
    }

    /// The field, where it has the form that `read` takes; another one is noted and read as absent.
    fn read<T>(
        &mut self,
        field: &'static str,
        form: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let found = read(self.take(field)?);
        if found.is_none() {
            self.error(field, form);
        }
        found
    }

    /// A text.
    pub(crate) fn text(&mut self, field: &'static str) -> Option<&'a str> {
        self.read(field, "must be a text", Value::as_str)
    }

    /// A text that must be there and say something; `hint` says what.
    pub(crate) fn required(&mut self, field: &'static str, hint: &str) -> &'a str {
        if self.has(field) {
            let text = self.text(field);
            if text.is_none_or(|text| !text.is_empty()) {
                return text.unwrap_or_default();
            }
        }
        self.known.push(field);
        self.error(field, format!("is required: {hint}"));
        ""
    }

    /// True or false; false when absent.
    pub(crate) fn flag(&mut self, field: &'static str) -> bool {
        self.read(field, "must be true or false", Value::as_bool).unwrap_or_default()
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, field: &'static str) -> Option<Vec<String>> {
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        self.read(field, "must be a list of texts", |value| value.as_array()?.iter().map(owned).collect())
    }

    /// A whole number within bounds, or the default. Numbers arrive as doubles: they pass through a protobuf `Struct`.
    pub(crate) fn number(&mut self, field: &'static str, default: u32, min: u32, max: u32) -> u32 {
        let value = self.take(field);
        self.errors.number(&self.name(field), value, default, min, max)
    }

    /// A section within this one.
    pub(crate) fn section(&mut self, field: &'static str) -> Section<'a> {
        let value = self.take(field).unwrap_or(&Value::Null);
        Section::new(&self.name(field), value, self.errors)
    }

    /// A section within this one, where it is there.
    pub(crate) fn given(&mut self, field: &'static str) -> Option<Section<'a>> {
        let value = self.take(field)?;
        Some(Section::new(&self.name(field), value, self.errors))
    }

    /// A list of sections; empty when absent.
    pub(crate) fn list(&mut self, field: &'static str) -> Vec<Section<'a>> {
        let items = self.read(field, "must be a list", Value::as_array);
        let path = self.name(field);
        let section = |(at, item)| Section::new(&format!("{path}[{at}]"), item, self.errors);
        items.into_iter().flatten().enumerate().map(section).collect()
    }

    /// Notes every field that nothing asked for.
    pub(crate) fn finish(self) {
        for name in self.fields.into_iter().flatten().map(|(name, _)| name.as_str()) {
            if !self.known.contains(&name) {
                self.error(name, format!("there is no such field; known are {}", self.known.join(", ")));
            }
        }
    }
}
