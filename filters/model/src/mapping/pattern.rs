//! Values that lead to a tenant by their form.

use portcullis_identity::ids::TenantId;
use serde::{Deserialize, Serialize};

/// A whole value with one part that is free, and the tenant that the part makes. Different values make different
/// tenants, because the part goes into the tenant as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct TenantPattern {
    value: Star,
    tenant: Star,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "match")]
    value: String,
    tenant: String,
}

/// A text with one `*` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Star {
    before: String,
    after: String,
}

impl Star {
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.split_once('*')?;
        (!after.contains('*') && text.len() <= 255)
            .then(|| Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// What stands at the star, where the whole text fits.
    fn part<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.strip_prefix(&self.before)?.strip_suffix(&self.after).filter(|part| !part.is_empty())
    }

    fn with(&self, part: &str) -> String {
        [&self.before, part, &self.after].concat()
    }
}

impl TenantPattern {
    /// The tenant of a value that fits.
    #[must_use]
    pub(super) fn tenant(&self, value: &str) -> Option<TenantId> {
        TenantId::new(&self.tenant.with(self.value.part(value)?)).ok()
    }

    /// The one value that leads to a tenant.
    pub(super) fn value_of(&self, tenant: &TenantId) -> Option<String> {
        self.tenant.part(tenant.as_str()).map(|part| self.value.with(part))
    }
}

impl TryFrom<Raw> for TenantPattern {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        match (Star::parse(&raw.value), Star::parse(&raw.tenant)) {
            (Some(value), Some(tenant)) => Ok(Self { value, tenant }),
            _ => Err(
                "a pattern has exactly one * in `match` and one in `tenant`, for example {match: 'org:*', tenant: '*'}; without one, write it in `map`",
            ),
        }
    }
}

impl From<TenantPattern> for Raw {
    fn from(pattern: TenantPattern) -> Self {
        Self { value: pattern.value.with("*"), tenant: pattern.tenant.with("*") }
    }
}
