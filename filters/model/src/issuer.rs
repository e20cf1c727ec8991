//! The names of an issuer: its own, its aliases, and those that a template makes.

use portcullis_identity::ids::{IssuerId, SpiffeId};

use crate::errors::{FieldError, FieldErrors};
use crate::mapping::TenantRule;
use crate::policy::IssuerDocument;
use crate::template::{InvalidTemplate, IssuerTemplate, is_segment};

/// Aliases of one issuer at most.
const MAX_ALIASES: usize = 16;

/// Values of one template at most.
const MAX_VALUES: usize = 256;

/// The names of one issuer, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerNames {
    name: IssuerId,
    /// Its template, where it is one; then its aliases are templates, too.
    template: Option<IssuerTemplate>,
    aliases: Vec<(IssuerId, Option<IssuerTemplate>)>,
    values: Vec<String>,
}

/// What a name in `iss` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// The issuer, by the one name that it has in identities, records and revocations.
    pub name: IssuerId,
    /// The claim that must be there, and its value: of a template.
    pub bound: Option<(Box<str>, &'a str)>,
}

impl IssuerNames {
    /// The names of an issuer.
    ///
    /// # Errors
    /// [`InvalidTemplate`] when one of them has braces and is no template.
    pub fn of(issuer: &IssuerId, aliases: &[IssuerId], values: &[String]) -> Result<Self, InvalidTemplate> {
        let alias = |alias: &IssuerId| IssuerTemplate::parse(alias).map(|template| (alias.clone(), template));
        Ok(Self {
            name: issuer.clone(),
            template: IssuerTemplate::parse(issuer)?,
            aliases: aliases.iter().map(alias).collect::<Result<_, _>>()?,
            values: values.to_vec(),
        })
    }

    /// What an `iss` stands for; `None` where it names somebody else.
    #[must_use]
    pub fn named<'a>(&self, iss: &'a str) -> Option<Named<'a>> {
        let Some(template) = &self.template else {
            let is_it =
                self.name.as_str() == iss || self.aliases.iter().any(|(alias, _)| alias.as_str() == iss);
            return is_it.then(|| Named { name: self.name.clone(), bound: None });
        };
        let templates = self.aliases.iter().filter_map(|(_, template)| template.as_ref());
        let value = [template].into_iter().chain(templates).find_map(|template| template.value(iss))?;
        let name = template.fill(value).filter(|_| self.values.iter().any(|known| known == value))?;
        Some(Named { name, bound: Some((template.claim().into(), value)) })
    }

    /// Every name of the one issuer that an `iss` names.
    pub(crate) fn same_as(&self, iss: &str) -> Vec<IssuerId> {
        let templates = || {
            let aliases = self.aliases.iter().filter_map(|(_, template)| template.as_ref());
            self.template.iter().chain(aliases)
        };
        match templates().find_map(|template| template.value(iss)) {
            Some(value) => templates().filter_map(|template| template.fill(value)).collect(),
            None => self.all(),
        }
    }

    /// Every `iss` that names it.
    #[must_use]
    pub fn all(&self) -> Vec<IssuerId> {
        let Some(template) = &self.template else {
            return [&self.name]
                .into_iter()
                .chain(self.aliases.iter().map(|(alias, _)| alias))
                .cloned()
                .collect();
        };
        let templates = self.aliases.iter().filter_map(|(_, template)| template.as_ref());
        let filled = |template: &IssuerTemplate| -> Vec<IssuerId> {
            self.values.iter().filter_map(|value| template.fill(value)).collect()
        };
        [template].into_iter().chain(templates).flat_map(filled).collect()
    }
}

/// A trust domain as the name of an issuer.
pub(crate) fn trust_domain_name(id: &SpiffeId) -> String {
    ["spiffe://", id.trust_domain()].concat()
}

impl IssuerDocument {
    /// Every `iss` that names it; none where its names cannot be read.
    #[must_use]
    pub fn names(&self) -> Vec<IssuerId> {
        self.parsed_names().map_or_else(Vec::new, |names| names.all())
    }

    /// Every name of the one issuer of its own that this names; none where this names somebody else.
    #[must_use]
    pub fn names_of(&self, name: &IssuerId) -> Vec<IssuerId> {
        let names = self.parsed_names().filter(|names| names.named(name.as_str()).is_some());
        names.map_or_else(Vec::new, |names| names.same_as(name.as_str()))
    }

    fn parsed_names(&self) -> Option<IssuerNames> {
        IssuerNames::of(&self.issuer, &self.aliases, &self.issuer_values).ok()
    }

    /// What is wrong with who the issuer is and how its claims are read: one definition for who writes the document
    /// and who reads it.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        let errors = FieldErrors::default();
        let names = match IssuerNames::of(&self.issuer, &self.aliases, &self.issuer_values) {
            Ok(names) => {
                self.check_names(&names, &errors);
                names.all()
            }
            Err(error) => {
                errors.add("issuer", error.to_string());
                Vec::new()
            }
        };
        let mapping = self.claims.check(&names, &self.tenants);
        let within = mapping.into_iter().map(|error| error.within("claims"));
        errors.into_list().into_iter().chain(within).collect()
    }

    fn check_names(&self, names: &IssuerNames, errors: &FieldErrors) {
        if self.aliases.len() > MAX_ALIASES {
            errors.add("aliases", format!("at most {MAX_ALIASES}"));
        }
        match &names.template {
            None if !self.issuer_values.is_empty() => {
                errors.add(
                    "issuerValues",
                    "is for an issuer that is a template: https://login.example/{tid}/v2.0",
                );
            }
            None if names.aliases.iter().any(|(_, template)| template.is_some()) => {
                errors.add("aliases", "only the aliases of a template can be templates");
            }
            None => {}
            Some(template) => {
                let same = |(_, alias): &(IssuerId, Option<IssuerTemplate>)| {
                    alias.as_ref().is_some_and(|alias| alias.claim() == template.claim())
                };
                if !names.aliases.iter().all(same) {
                    errors.add(
                        "aliases",
                        "the aliases of a template are templates with the same claim in braces",
                    );
                }
                self.check_template(template, errors);
            }
        }
        let is_trust_domain = || {
            let id = [self.issuer.as_str(), "/x"].concat();
            SpiffeId::new(&id).is_ok_and(|id| trust_domain_name(&id) == self.issuer.as_str())
        };
        if self.jwt_svid && !is_trust_domain() {
            errors.add("issuer", "with `jwtSvid` it is the trust domain: spiffe://example.org");
        }
    }

    fn check_template(&self, template: &IssuerTemplate, errors: &FieldErrors) {
        let values = &self.issuer_values;
        if values.is_empty() || values.len() > MAX_VALUES || !values.iter().all(|value| is_segment(value)) {
            errors.add(
                "issuerValues",
                format!(
                    "must list the values that {{{}}} may have, each a path segment; at most {MAX_VALUES}",
                    template.claim()
                ),
            );
        }
        if self.tenants.is_empty() {
            errors.add("tenants", "must list the tenants that a template may lead to");
        }
        // Whoever runs one of these issuers chooses all other claims: with them it could speak for the others.
        let own = match &self.claims.tenant {
            TenantRule::Fixed(_) => true,
            TenantRule::Claims(sources) => {
                sources.iter().all(|source| source.claim.is_member(template.claim()))
            }
        };
        if !own {
            errors.add(
                "claims.tenant",
                format!(
                    "with a template the tenant is fixed, or said by the claim in braces: [{}]",
                    template.claim()
                ),
            );
        }
    }
}
