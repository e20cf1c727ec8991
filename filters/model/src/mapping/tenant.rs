//! Which tenant a token speaks for.
//!
//! Tenants are apart, so nothing here may lead two callers of different tenants to one: values are compared whole,
//! and two of them reach one tenant only where the operator wrote both down.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_identity::ids::TenantId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::pattern::TenantPattern;
use super::subject::MAX_SOURCES;
use super::written::{MAX_ENTRIES, Written, is_denied};
use super::{ClaimFault, ClaimPath, Found};
use crate::claims::Claims;
use crate::errors::FieldErrors;

/// Patterns of one claim at most.
const MAX_PATTERNS: usize = 16;

/// How the tenant is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRule {
    /// All tokens are of this one.
    Fixed(TenantId),
    /// By the first of these claims that is there.
    Claims(Vec<TenantSource>),
}

/// A claim that may say the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantSource {
    /// The claim.
    pub claim: ClaimPath,
    /// The form of its value.
    #[serde(default, skip_serializing_if = "Form::is_text")]
    pub form: Form,
    /// True: its value is an e-mail address that the provider has verified, whose domain counts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub email_domain: bool,
    /// True: upper and lower case are the same when a value is looked up in `map`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fold_case: bool,
    /// What values stand for. With it or with `patterns`, a value that fits none is refused; without both, the value
    /// itself is the tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "filled_map")]
    pub map: BTreeMap<String, TenantId>,
    /// What values that are not in `map` stand for.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "filled_list")]
    pub patterns: Vec<TenantPattern>,
}

/// The form of a claim that says the tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// A text.
    #[default]
    Text,
    /// A list with exactly one text, or a text.
    List,
    /// An object with exactly one member that is neither null nor false, whose name counts, or a list with exactly one text.
    Keys,
}

impl Form {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Without entries the value itself would be the tenant: whoever takes the last one out means to let nobody in.
const EMPTIED: &str = "`map` and `patterns` are not empty where they are there; without both, the value of the claim itself is the tenant";

fn filled_map<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, TenantId>, D::Error> {
    let map = BTreeMap::deserialize(from)?;
    if map.is_empty() { Err(serde::de::Error::custom(EMPTIED)) } else { Ok(map) }
}

fn filled_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<TenantPattern>, D::Error> {
    let list = Vec::deserialize(from)?;
    if list.is_empty() { Err(serde::de::Error::custom(EMPTIED)) } else { Ok(list) }
}

/// Why claims lead to no tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTenant {
    /// A claim is missing, or of the wrong form.
    Claim(ClaimFault),
    /// Its value stands for no tenant of the rule.
    Unmapped,
}

impl TenantRule {
    /// The tenant.
    ///
    /// # Errors
    /// [`NoTenant`] when no claim is there, or the first that is there leads to none.
    pub fn read(&self, claims: &Claims) -> Result<TenantId, NoTenant> {
        let sources = match self {
            Self::Fixed(tenant) => return Ok(tenant.clone()),
            Self::Claims(sources) => sources,
        };
        for source in sources {
            match source.claim.find(claims) {
                Found::Absent => {}
                Found::Value(value) => return source.tenant(value, claims),
                Found::Malformed => return Err(NoTenant::Claim((&source.claim).into())),
            }
        }
        let first = sources.first().map_or_else(|| ClaimFault::of("tenant"), |s| (&s.claim).into());
        Err(NoTenant::Claim(first))
    }

    /// The claims that may say it.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimPath> {
        let sources = match self {
            Self::Fixed(_) => &[][..],
            Self::Claims(sources) => sources,
        };
        sources.iter().map(|source| &source.claim)
    }

    /// Whether nothing but a list of tenants says which ones the rule can lead to.
    fn needs_tenants(sources: &[TenantSource]) -> bool {
        sources.len() > 1 || sources.iter().any(|s| s.email_domain || !s.is_plain())
    }

    /// `entra`: the tokens come from Entra ID.
    pub(super) fn check(&self, tenants: &[TenantId], entra: bool, errors: &FieldErrors) {
        let sources = match self {
            Self::Fixed(tenant) if tenants.is_empty() || tenants.contains(tenant) => return,
            Self::Fixed(tenant) => return errors.add("tenant", format!("{tenant} is not among `tenants`")),
            Self::Claims(sources) => sources,
        };
        if sources.len() > MAX_SOURCES {
            errors.add("tenant", format!("at most {MAX_SOURCES} claims"));
        }
        sources.iter().for_each(|source| source.check(tenants, entra, errors));
        if tenants.is_empty() && Self::needs_tenants(sources) {
            errors.add(
                "tenant",
                "with a map, patterns or several claims, `tenants` must list all that it may lead to",
            );
        }
        tenants.iter().filter_map(|tenant| two_ways(sources, tenant)).for_each(|e| errors.add("tenant", e));
    }
}

/// What is wrong when a tenant is reached by a value that nobody wrote down, and by another one besides.
fn two_ways(sources: &[TenantSource], tenant: &TenantId) -> Option<String> {
    let (mut written, mut implied) = (BTreeSet::new(), BTreeSet::new());
    for (at, source) in sources.iter().enumerate() {
        written.extend(source.map.iter().filter(|(_, to)| *to == tenant).map(|(from, _)| (at, from.clone())));
        let values = source.implied(tenant).into_iter().filter(|value| !source.map.contains_key(value));
        implied.extend(values.map(|value| (at, value)));
    }
    if implied.is_empty() || implied.len() + written.len() < 2 {
        return None;
    }
    let name = |(at, value): &(usize, String)| {
        let claim = sources.get(*at).map(|source| source.claim.to_string()).unwrap_or_default();
        format!("{claim} = {value:?}")
    };
    let all: Vec<String> = implied.iter().chain(&written).map(name).collect();
    Some(format!(
        "{tenant} is reached by {}: write every one of them in `map`, or no other",
        all.join(" and ")
    ))
}

impl TenantSource {
    fn is_plain(&self) -> bool {
        self.map.is_empty() && self.patterns.is_empty()
    }

    fn tenant(&self, value: &Value, claims: &Claims) -> Result<TenantId, NoTenant> {
        let malformed = || NoTenant::Claim((&self.claim).into());
        let text = self.text(value).ok_or_else(malformed)?;
        let text = match self.email_domain {
            true if claims.get("email_verified") != Some(&Value::Bool(true)) => {
                return Err(NoTenant::Claim(ClaimFault::of("email_verified")));
            }
            true => domain(text).ok_or_else(malformed)?,
            false => text,
        };
        if self.is_plain() {
            return TenantId::new(text).map_err(|_| malformed());
        }
        let mapped = match self.folds() {
            true => {
                self.map.iter().find(|(from, _)| from.eq_ignore_ascii_case(text)).map(|(_, to)| to.clone())
            }
            false => self.map.get(text).cloned(),
        };
        mapped.or_else(|| self.patterns.iter().find_map(|p| p.tenant(text))).ok_or(NoTenant::Unmapped)
    }

    /// The one text that the value is.
    fn text<'a>(&self, value: &'a Value) -> Option<&'a str> {
        match (self.form, value) {
            (Form::Text | Form::List, Value::String(text)) => Some(text),
            (Form::List | Form::Keys, Value::Array(members)) => match members.as_slice() {
                [Value::String(text)] => Some(text),
                _ => None,
            },
            (Form::Keys, Value::Object(members)) => {
                let mut granted = members.iter().filter(|(_, value)| !is_denied(value));
                granted.next().filter(|_| granted.next().is_none()).map(|(name, _)| name.as_str())
            }
            _ => None,
        }
    }

    /// Domains have no case (RFC 4343).
    fn folds(&self) -> bool {
        self.fold_case || self.email_domain
    }

    /// The values that lead to a tenant without being written down.
    fn implied(&self, tenant: &TenantId) -> Vec<String> {
        if self.is_plain() {
            return vec![tenant.to_string()];
        }
        self.patterns.iter().filter_map(|pattern| pattern.value_of(tenant)).collect()
    }

    fn check(&self, tenants: &[TenantId], entra: bool, errors: &FieldErrors) {
        let add = |problem: String| errors.add("tenant", [&self.claim.to_string(), ": ", &problem].concat());
        if self.email_domain && self.map.is_empty() {
            add("`emailDomain` needs `map`: which domain is which tenant's".to_owned());
        }
        if self.email_domain && !self.claim.is_member("email") {
            add("`emailDomain` is for `claim: [email]`: `email_verified` speaks of no other claim".to_owned());
        }
        if entra && (self.email_domain || self.claim.is_member("email")) {
            add("Entra ID does not verify the addresses that it puts into tokens; use [tid]".to_owned());
        }
        if self.fold_case && self.map.is_empty() {
            add("`foldCase` needs `map`: else two spellings would lead to one tenant".to_owned());
        }
        if self.folds() && !self.patterns.is_empty() {
            add("`patterns` are compared as they are written, so not with `foldCase` or `emailDomain`"
                .to_owned());
        }
        if self.map.len() > MAX_ENTRIES || self.patterns.len() > MAX_PATTERNS {
            add(format!("at most {MAX_ENTRIES} entries in `map` and {MAX_PATTERNS} `patterns`"));
        }
        let mut seen = BTreeSet::new();
        for from in self.map.keys().filter(|_| self.folds()) {
            if !seen.insert(from.to_ascii_lowercase()) {
                add(format!("{from:?} is in `map` twice, but for upper and lower case"));
            }
        }
        let strangers: BTreeSet<_> = self.map.values().filter(|tenant| !tenants.contains(tenant)).collect();
        for tenant in strangers.into_iter().filter(|_| !tenants.is_empty()) {
            add(format!("{tenant} is not among `tenants`"));
        }
    }
}

/// The domain of an address that has exactly one `@`: a quoted local part could hold another one.
fn domain(address: &str) -> Option<&str> {
    let (local, domain) = address.split_once('@')?;
    let sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    (!local.is_empty() && !domain.is_empty() && domain.bytes().all(sound)).then_some(domain)
}

impl From<ClaimPath> for TenantSource {
    fn from(claim: ClaimPath) -> Self {
        Self {
            claim,
            form: Form::Text,
            email_domain: false,
            fold_case: false,
            map: BTreeMap::new(),
            patterns: Vec::new(),
        }
    }
}

impl From<ClaimPath> for TenantRule {
    fn from(claim: ClaimPath) -> Self {
        Self::Claims(vec![claim.into()])
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    fixed: TenantId,
}

impl<'de> Deserialize<'de> for TenantRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let wrong = |error: serde_json::Error| serde::de::Error::custom(error);
        if value.get("fixed").is_some() {
            return Fixed::deserialize(&value).map(|Fixed { fixed }| Self::Fixed(fixed)).map_err(wrong);
        }
        match Written::read(&value).map_err(wrong)? {
            Written::Nothing => Err(serde::de::Error::custom(
                "name the claim that says the tenant, for example [tenant], or write fixed: TENANT",
            )),
            Written::Path(claim) => Ok(claim.into()),
            Written::One(source) => Ok(Self::Claims(vec![source])),
            Written::Several(sources) => Ok(Self::Claims(sources)),
        }
    }
}

impl Serialize for TenantRule {
    /// As short as it can be, which is what older filters read.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(fixed) => Fixed { fixed: fixed.clone() }.serialize(serializer),
            Self::Claims(sources) => match sources.as_slice() {
                [source] if *source == TenantSource::from(source.claim.clone()) => {
                    source.claim.serialize(serializer)
                }
                sources => sources.serialize(serializer),
            },
        }
    }
}
