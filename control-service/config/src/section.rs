//! Reading a YAML mapping field by field, so that every error is found and each names its field.

use portcullis_control_domain::wanted;
use portcullis_model::errors::FieldErrors;
use serde::de::DeserializeOwned;
use serde_norway::{Mapping, Value};

use crate::schema::FIELDS;

/// A mapping whose fields are taken out one by one; what is left in the end is unknown.
pub(crate) struct Section<'e> {
    path: String,
    fields: Mapping,
    known: Vec<&'static str>,
    errors: &'e FieldErrors,
}

impl<'e> Section<'e> {
    /// The outermost section.
    pub(crate) fn root(value: Value, errors: &'e FieldErrors) -> Self {
        Self::new(String::new(), value, errors)
    }

    fn new(path: String, value: Value, errors: &'e FieldErrors) -> Self {
        let fields = match value {
            Value::Mapping(fields) => fields,
            Value::Null => Mapping::new(),
            _ => {
                errors.add(&path, "must be a mapping (name: value)");
                Mapping::new()
            }
        };
        Self { path, fields, known: Vec::new(), errors }
    }

    /// The full name of a field of this section, or with an empty one of the section.
    pub(crate) fn name(&self, field: &str) -> String {
        match (self.path.as_str(), field) {
            ("", field) => field.to_owned(),
            (path, "") => path.to_owned(),
            (path, field) => format!("{path}.{field}"),
        }
    }

    /// Where problems are noted, for what is read by other parsers.
    pub(crate) fn errors(&self) -> &'e FieldErrors {
        self.errors
    }

    /// Notes a problem with a field of this section.
    pub(crate) fn error(&self, field: &str, problem: impl Into<String>) {
        self.errors.add(&self.name(field), problem);
    }

    /// True while the field was given and not yet taken.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|v| !v.is_null())
    }

    /// True while the field stands there, also with nothing in it, and was not yet taken.
    pub(crate) fn stands(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.fields.remove(field).filter(|v| !v.is_null())
    }

    /// A field that may be absent. A value of the wrong form is noted and read as absent.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, field: &'static str) -> Option<T> {
        let value = self.take(field)?;
        self.typed(field, value)
    }

    /// Reads a value. Of a list every item that is not right is told, and not the first alone.
    fn typed<T: DeserializeOwned>(&self, field: &str, value: Value) -> Option<T> {
        let items = value.as_sequence().cloned().unwrap_or_default();
        let (place, said) = match read(value) {
            Ok(read) => return Some(read),
            Err(wrong) => wrong,
        };
        let alone = |(at, item): (usize, Value)| {
            let (place, said) = read::<T>(Value::Sequence(vec![item])).err()?;
            Some((place.strip_prefix("[0]").map(|inner| format!("[{at}]{inner}"))?, said))
        };
        let mut wrong: Vec<_> = items.into_iter().enumerate().filter_map(alone).collect();
        if wrong.is_empty() {
            wrong.push((place, said));
        }
        for (place, said) in wrong {
            let dot = if place.is_empty() || place.starts_with('[') { "" } else { "." };
            let name = [&self.name(field), dot, &place].concat();
            let (name, told) = wanted::told(&FIELDS, &name, &said);
            self.errors.add(name, told);
        }
        None
    }

    /// A field that must be there; `hint` says what to write.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, field: &'static str, hint: &str) -> Option<T> {
        if !self.has(field) {
            self.known.push(field);
            self.error(field, format!("is required: {hint}"));
            return None;
        }
        self.optional(field)
    }

    /// A field that may be absent, but must say something where it stands: an empty condition could be read as one
    /// that everything meets.
    pub(crate) fn filled<T: DeserializeOwned>(&mut self, field: &'static str) -> Option<T> {
        self.known.push(field);
        let value = self.fields.remove(field)?;
        if value.is_null() || value.as_sequence().is_some_and(Vec::is_empty) {
            self.error(field, "is empty: say what it must be, or leave the field out where anything will do");
            return None;
        }
        self.typed(field, value)
    }

    /// A whole number within bounds, or the default.
    pub(crate) fn number(&mut self, field: &'static str, default: u32, min: u32, max: u32) -> u32 {
        match self.optional::<i64>(field).map(u32::try_from) {
            None => default,
            Some(Ok(n)) if (min..=max).contains(&n) => n,
            Some(_) => {
                self.error(field, format!("must be a whole number from {min} to {max}"));
                default
            }
        }
    }

    /// A section within this one; empty when absent.
    pub(crate) fn section(&mut self, field: &'static str) -> Section<'e> {
        let path = self.name(field);
        let value = self.take(field).unwrap_or(Value::Null);
        Section::new(path, value, self.errors)
    }

    /// A list of sections; empty when absent.
    pub(crate) fn list(&mut self, field: &'static str) -> Vec<Section<'e>> {
        let path = self.name(field);
        match self.take(field) {
            None => Vec::new(),
            Some(Value::Sequence(items)) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| Section::new(format!("{path}[{at}]"), item, self.errors))
                .collect(),
            Some(_) => {
                self.errors.add(&path, "must be a list");
                Vec::new()
            }
        }
    }

    /// Notes every field that nothing asked for.
    pub(crate) fn finish(self) {
        for field in self.fields.keys() {
            let text = field.as_str().map_or_else(|| format!("{field:?}"), str::to_owned);
            let known = self.known.join(", ");
            self.error(&text, format!("there is no such field; known are {known}"));
        }
    }
}

/// Reads a value as a type; else the place within it that is wrong, and what the reader says of that.
fn read<T: DeserializeOwned>(value: Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        (if place == "." { String::new() } else { place }, error.inner().to_string())
    })
}
