//! Where a claim stands.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claims::Claims;

/// A claim by its path of member names, outermost first. A path of one name reads that member, whatever characters
/// the name has: a namespaced claim is such a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct ClaimPath(Box<[Box<str>]>);

/// Why something is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path is a list of 1 to 16 member names, each of 1 to 255 bytes, for example [realm_access, roles]"
)]
pub struct InvalidPath;

/// What stands where a path leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'a> {
    /// Nothing: a member on the way is missing or null.
    Absent,
    /// A value, not null.
    Value(&'a Value),
    /// Something on the way is there and is no object.
    Malformed,
}

/// A claim that is needed and missing, or of the wrong form. It is named, and its value never is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimFault(pub Box<str>);

impl ClaimFault {
    /// The fault of a registered claim.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<&ClaimPath> for ClaimFault {
    fn from(path: &ClaimPath) -> Self {
        Self(path.to_string().into())
    }
}

impl ClaimPath {
    /// A path of one name that stands in the code.
    pub(super) fn of_name(name: &'static str) -> Self {
        Self([Box::from(name)].into())
    }

    /// Whether the path is that of one member.
    #[must_use]
    pub fn is_member(&self, name: &str) -> bool {
        matches!(&*self.0, [only] if **only == *name)
    }

    /// The outermost member's name.
    #[must_use]
    pub fn first(&self) -> &str {
        self.0.first().map_or("", |name| name)
    }

    /// Follows the path.
    #[must_use]
    pub fn find<'a>(&self, claims: &'a Claims) -> Found<'a> {
        let Some((first, rest)) = self.0.split_first() else { return Found::Absent };
        let mut next = claims.get(&**first);
        for name in rest {
            next = match next {
                None | Some(Value::Null) => return Found::Absent,
                Some(Value::Object(members)) => members.get(&**name),
                Some(_) => return Found::Malformed,
            };
        }
        match next {
            None | Some(Value::Null) => Found::Absent,
            Some(value) => Found::Value(value),
        }
    }
}

impl TryFrom<Vec<String>> for ClaimPath {
    type Error = InvalidPath;

    fn try_from(names: Vec<String>) -> Result<Self, InvalidPath> {
        let sound = (1..=16).contains(&names.len()) && names.iter().all(|n| (1..=255).contains(&n.len()));
        if sound {
            Ok(Self(names.into_iter().map(String::into_boxed_str).collect()))
        } else {
            Err(InvalidPath)
        }
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" > "))
    }
}

/// A path that may be missing, written as an empty list then.
pub(super) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ClaimPath;

    pub(in super::super) fn serialize<S: Serializer>(
        path: &Option<ClaimPath>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => path.serialize(serializer),
            None => <[String; 0]>::default().serialize(serializer),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ClaimPath>, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        if names.is_empty() {
            return Ok(None);
        }
        ClaimPath::try_from(names).map(Some).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(names: &[&str]) -> ClaimPath {
        ClaimPath::try_from(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_malformed() {
        let claims = json!({"a": {"b": {"c": 1}, "n": null}, "t": "text", "https://x/y": 2, "l": [{"c": 1}]});
        let claims = claims.as_object().unwrap();
        assert_eq!(path(&["a", "b", "c"]).find(claims), Found::Value(&json!(1)));
        assert_eq!(path(&["https://x/y"]).find(claims), Found::Value(&json!(2)));
        for absent in [&["x"][..], &["a", "x"], &["a", "n"], &["a", "n", "c"], &["x", "y"]] {
            assert_eq!(path(absent).find(claims), Found::Absent, "{absent:?}");
        }
        for malformed in [&["t", "b"][..], &["a", "b", "c", "d"], &["l", "c"]] {
            assert_eq!(path(malformed).find(claims), Found::Malformed, "{malformed:?}");
        }
    }

    #[test]
    fn a_path_has_bounds() {
        for bad in [vec![], vec![String::new()], vec!["a".repeat(256)], vec!["a".to_owned(); 17]] {
            assert!(ClaimPath::try_from(bad).is_err());
        }
    }
}
