//! Which claim says whom a token speaks for.

use portcullis_identity::ids::Subject;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::written::Written;
use super::{ClaimFault, ClaimPath, Found};
use crate::claims::Claims;
use crate::errors::FieldErrors;

/// Claims that may say a subject or a tenant, at most.
pub(super) const MAX_SOURCES: usize = 8;

/// Where the subject is: the first of these claims that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectRule(Vec<SubjectSource>);

/// A claim that may say the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubjectSource {
    /// The claim, a text.
    pub claim: ClaimPath,
    /// Stands before its value, so that what one claim says is never what another one says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

impl SubjectRule {
    /// The subject.
    ///
    /// # Errors
    /// [`ClaimFault`] when no claim is there, or the first that is there says no subject.
    pub fn read(&self, claims: &Claims) -> Result<Subject, ClaimFault> {
        for SubjectSource { claim, prefix } in &self.0 {
            match claim.find(claims) {
                Found::Absent => {}
                Found::Value(Value::String(text)) => {
                    return Subject::new(&[prefix, text.as_str()].concat()).map_err(|_| claim.into());
                }
                Found::Value(_) | Found::Malformed => return Err(claim.into()),
            }
        }
        Err(self.0.first().map_or_else(|| ClaimFault::of("sub"), |source| (&source.claim).into()))
    }

    /// The claims that may say it.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimPath> {
        self.0.iter().map(|source| &source.claim)
    }

    /// `entra`: the tokens come from Entra ID.
    pub(super) fn check(&self, entra: bool, errors: &FieldErrors) {
        if entra && self.claims().any(|claim| claim.is_member("email")) {
            errors.add(
                "subject",
                "Entra ID does not verify the addresses that it puts into tokens, so nobody is known by [email]; use [oid]",
            );
        }
        let sound = |p: &str| p.len() <= 64 && p.bytes().all(|b| b.is_ascii_graphic());
        if !self.0.iter().all(|source| sound(&source.prefix)) {
            errors.add("subject", "a prefix has at most 64 visible ASCII characters");
        }
        if self.0.len() > MAX_SOURCES {
            errors.add("subject", format!("at most {MAX_SOURCES} claims"));
        }
        let begins = |(at, one): (usize, &SubjectSource)| {
            self.0.iter().enumerate().any(|(other, s)| at != other && s.prefix.starts_with(&one.prefix))
        };
        if self.0.iter().enumerate().any(begins) {
            errors.add(
                "subject",
                "every one of several claims needs a `prefix` of its own, none of which begins another, for example 'user:' and 'service:': else the value of one could pass for that of another",
            );
        }
    }
}

impl From<ClaimPath> for SubjectRule {
    fn from(claim: ClaimPath) -> Self {
        Self(vec![SubjectSource { claim, prefix: String::new() }])
    }
}

impl<'de> Deserialize<'de> for SubjectRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::read(deserializer)? {
            Written::Nothing => {
                Err(serde::de::Error::custom("name the claim that says the subject, usually [sub]"))
            }
            Written::Path(claim) => Ok(claim.into()),
            Written::One(source) => Ok(Self(vec![source])),
            Written::Several(sources) => Ok(Self(sources)),
        }
    }
}

impl Serialize for SubjectRule {
    /// As short as it can be, which is what older filters read.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [source] if source.prefix.is_empty() => source.claim.serialize(serializer),
            sources => sources.serialize(serializer),
        }
    }
}
