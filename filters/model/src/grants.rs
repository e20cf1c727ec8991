//! Roles and scopes that somebody is given.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize};

/// Names that are granted: each once, in the order in which they came first. Whoever writes a name twice grants it,
/// and no reader sees it twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Grants<T>(Vec<T>);

impl<T: PartialEq> Grants<T> {
    /// Adds a name, unless it is there.
    pub fn add(&mut self, name: T) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

impl<T> Default for Grants<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> FromIterator<T> for Grants<T> {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut grants = Self::default();
        names.into_iter().for_each(|name| grants.add(name));
        grants
    }
}

impl<T> Deref for Grants<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for Grants<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T> From<Grants<T>> for Vec<T> {
    fn from(grants: Grants<T>) -> Self {
        grants.0
    }
}

impl<'de, T: Deserialize<'de> + PartialEq> Deserialize<'de> for Grants<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_once_where_it_came_first() {
        let grants: Grants<String> = serde_json::from_str(r#"["b", "a", "b", "A", "a"]"#).unwrap();
        assert_eq!(*grants, ["b", "a", "A"]);
        assert_eq!(serde_json::to_string(&grants).unwrap(), r#"["b","a","A"]"#);
        assert_eq!(Vec::from(grants), ["b", "a", "A"]);
        assert!(serde_json::from_str::<Grants<String>>(r#""b""#).is_err());
    }
}
