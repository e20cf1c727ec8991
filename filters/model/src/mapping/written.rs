//! Rules as they may be written: short, as the path of a claim, or in full.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::ClaimPath;

/// Entries of one map at most.
pub(super) const MAX_ENTRIES: usize = 1024;

/// A rule as it stands in a document.
pub(super) enum Written<T> {
    /// An empty list.
    Nothing,
    /// The path of one claim.
    Path(ClaimPath),
    /// One mapping.
    One(T),
    /// A list of mappings.
    Several(Vec<T>),
}

impl<T: DeserializeOwned> Written<T> {
    /// Told apart by hand, so that a mistake is told of the form that was meant.
    pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = |error: serde_json::Error| D::Error::custom(error);
        match Value::deserialize(deserializer)? {
            Value::Array(items) if items.is_empty() => Ok(Self::Nothing),
            Value::Array(items) if items.iter().all(Value::is_object) => {
                items.iter().map(T::deserialize).collect::<Result<_, _>>().map(Self::Several).map_err(whole)
            }
            list @ Value::Array(_) => ClaimPath::deserialize(&list).map(Self::Path).map_err(whole),
            rule @ Value::Object(_) => T::deserialize(&rule).map(Self::One).map_err(whole),
            _ => Err(D::Error::custom(
                "write the path of a claim, for example [org, name], or a mapping with `claim`",
            )),
        }
    }
}

/// Whether a member whose name would count says that it does not.
pub(super) fn is_denied(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}
