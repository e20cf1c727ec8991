//! Which claims grant roles or scopes.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::written::{MAX_ENTRIES, Written, is_denied};
use super::{ClaimPath, Found};
use crate::claims::Claims;
use crate::errors::FieldErrors;
use crate::grants::Grants;

/// Roles or scopes of one token that are taken; more are left out.
const MAX_NAMES: usize = 64;

/// Claims that one rule reads at most.
const MAX_CLAIMS: usize = 16;

/// Where names of a kind are, and what they are called here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(bound(deserialize = "T: DeserializeOwned", serialize = "T: Serialize"))]
struct Full<T> {
    claims: Vec<ClaimPath>,
    #[serde(default = "space")]
    separator: String,
    #[serde(default)]
    keys: bool,
    #[serde(default = "BTreeMap::new")]
    map: BTreeMap<String, T>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    drop_others: bool,
}

fn space() -> String {
    " ".to_owned()
}

impl<T> Full<T> {
    fn of(claims: Vec<ClaimPath>) -> Self {
        Self {
            claims,
            separator: space(),
            keys: false,
            map: BTreeMap::new(),
            prefix: String::new(),
            drop_others: false,
        }
    }

    fn is_plain(&self) -> bool {
        !self.keys
            && self.separator == " "
            && self.map.is_empty()
            && self.prefix.is_empty()
            && !self.drop_others
    }
}

/// Where roles or scopes are: in all of these claims. Each is a list of texts, or one text of names between
/// separators, or, where the rule says so, an object whose members' names count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesRule<T>(Full<T>);

/// Names that claims grant.
///
/// A type's own limits must not refuse what other people's providers write: what is no name here, and what is
/// more than is taken, grants nothing and is counted. What the rule drops is not counted: no policy can be
/// meant for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names<T> {
    /// Those that are names here.
    pub taken: Grants<T>,
    /// How many are left out.
    pub omitted: u32,
    /// True when the provider says that it has left some out of the token itself.
    pub elsewhere: bool,
}

impl<T: FromStr + Clone + PartialEq> NamesRule<T> {
    /// The names that a token's claims grant.
    #[must_use]
    pub fn read(&self, claims: &Claims) -> Names<T> {
        let mut names = Names { taken: Grants::default(), omitted: 0, elsewhere: false };
        for path in &self.0.claims {
            names.elsewhere |= are_elsewhere(claims, path.first());
            match path.find(claims) {
                Found::Absent => {}
                Found::Malformed => names.take(None),
                Found::Value(value) => self.read_value(value, &mut names),
            }
        }
        names
    }

    /// Whether the claims say anything of them.
    #[must_use]
    pub fn is_said(&self, claims: &Claims) -> bool {
        self.0.claims.iter().any(|path| path.find(claims) != Found::Absent)
    }

    fn read_value(&self, value: &Value, names: &mut Names<T>) {
        match value {
            Value::String(text) if self.0.separator.is_empty() => self.grant(Some(text), names),
            Value::String(text) => {
                let parts = text.split(self.0.separator.as_str()).map(|part| part.trim_matches(' '));
                parts.filter(|name| !name.is_empty()).for_each(|name| self.grant(Some(name), names));
            }
            Value::Array(members) => members.iter().for_each(|member| self.grant(member.as_str(), names)),
            Value::Object(members) if self.0.keys => {
                let granted = members.iter().filter(|(_, value)| !is_denied(value));
                granted.for_each(|(name, _)| self.grant(Some(name), names));
            }
            _ => names.take(None),
        }
    }

    /// Takes a name as what it is called here.
    fn grant(&self, name: Option<&str>, names: &mut Names<T>) {
        let Some(name) = name else { return names.take(None) };
        match self.0.map.get(name) {
            Some(known) => names.take(Some(known.clone())),
            None if self.0.drop_others => {}
            None if self.0.prefix.is_empty() => names.take(name.parse().ok()),
            None => names.take([self.0.prefix.as_str(), name].concat().parse().ok()),
        }
    }

    /// The claims that grant them.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimPath> {
        self.0.claims.iter()
    }

    pub(super) fn check(&self, field: &str, errors: &FieldErrors) {
        let rule = &self.0;
        if rule.claims.len() > MAX_CLAIMS {
            errors.add(field, format!("at most {MAX_CLAIMS} claims"));
        }
        if rule.separator.chars().count() > 1 || !rule.separator.is_ascii() {
            errors.add(field, "`separator` is one ASCII character, or '' where a text is one name");
        }
        if rule.map.len() > MAX_ENTRIES {
            errors.add(field, format!("`map` has at most {MAX_ENTRIES} entries"));
        }
        if !rule.prefix.is_empty() && rule.prefix.parse::<T>().is_err() {
            errors.add(field, "`prefix` must itself be a name of this kind");
        }
        if rule.drop_others && rule.map.is_empty() {
            errors.add(field, "`dropOthers` drops everything that is not in `map`, and there is no `map`");
        }
        if rule.drop_others && !rule.prefix.is_empty() {
            errors.add(field, "`prefix` is for names that are not in `map`, which `dropOthers` drops");
        }
    }
}

impl<T: PartialEq> Names<T> {
    fn take(&mut self, name: Option<T>) {
        match name {
            Some(name) if self.taken.contains(&name) => {}
            Some(name) if self.taken.len() < MAX_NAMES => self.taken.add(name),
            _ => self.omitted = self.omitted.saturating_add(1),
        }
    }
}

/// Whether the provider says that it left a claim's names out of the token itself: Entra ID does so where there
/// are too many groups.
fn are_elsewhere(claims: &Claims, claim: &str) -> bool {
    let sources = claims.get("_claim_names").and_then(Value::as_object);
    let has_groups = || claims.get("hasgroups").is_some_and(|value| *value == true || *value == "true");
    sources.is_some_and(|sources| sources.contains_key(claim)) || (claim == "groups" && has_groups())
}

impl<T> From<ClaimPath> for NamesRule<T> {
    fn from(claim: ClaimPath) -> Self {
        Self(Full::of(vec![claim]))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for NamesRule<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::<Full<T>>::read(deserializer)? {
            Written::Nothing => Ok(Self(Full::of(Vec::new()))),
            Written::Path(claim) => Ok(claim.into()),
            Written::One(rule) if rule.claims.is_empty() => Err(serde::de::Error::custom(
                "`claims` names no claim; write for example claims: [[roles], [groups]]",
            )),
            Written::One(rule) => Ok(Self(rule)),
            Written::Several(_) => Err(serde::de::Error::custom(
                "is one mapping; several claims are named in its `claims`: [[roles], [groups]]",
            )),
        }
    }
}

impl<T: Serialize> Serialize for NamesRule<T> {
    /// As short as it can be, which is what older filters read.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.claims.as_slice() {
            [] => <[String; 0]>::default().serialize(serializer),
            [claim] if self.0.is_plain() => claim.serialize(serializer),
            _ => self.0.serialize(serializer),
        }
    }
}
