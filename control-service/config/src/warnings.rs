//! What is allowed in a configuration and should be looked at all the same.

use portcullis_authn::key_set::KeySet;
use portcullis_identity::CredentialKind;
use portcullis_identity::ids::{IssuerId, TenantId};
use portcullis_model::mapping::{ClaimMapping, TenantRule};
use portcullis_model::policy::{RequiredClaim, SourceConditions};

use super::Config;
use super::issuer::IssuerConfig;
use super::keys::KeySource;
use super::policy::Policy;

impl Policy {
    /// What is allowed and should be looked at all the same.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let any = |tenants: &[TenantId], claims: &ClaimMapping| {
            tenants.is_empty() && !matches!(claims.tenant, TenantRule::Fixed(_))
        };
        let issuers = self.issuers.iter().map(|i| (&i.issuer, any(&i.tenants, &i.claims)));
        let providers = self.introspection.iter().map(|p| &p.document);
        let providers = providers.map(|d| (&d.issuer, any(&d.tenants, &d.claims)));
        let all: Vec<_> = issuers.chain(providers).collect();
        let several = all.len() > 1;
        let any_tenant = all.into_iter().filter(|(_, any)| several && *any).map(|(issuer, _)| {
            let text = "may vouch for every tenant, although there is more than one issuer; name those that it may vouch for in `tenants`";
            [issuer.as_str(), " ", text].concat()
        });
        let any_issuer = self
            .source_rules
            .rules
            .iter()
            .filter(|rule| several && rule.when.client_id.is_some() && rule.when.issuer.is_none());
        let any_issuer = any_issuer.map(|rule| {
            let text = "names clients and no issuer, although there is more than one: a client of the same name at any of them fits; name the issuer in `issuer`";
            ["source rule ", &rule.name, " ", text].concat()
        });
        let warnings = self.lacking().into_iter().map(str::to_owned);
        let warnings = warnings.chain(any_tenant).chain(any_issuer).chain(self.any_values());
        warnings.chain(self.unused_keys()).chain(self.catch_all()).chain(self.without_rule()).collect()
    }

    /// What is not there, and does not work without.
    fn lacking(&self) -> Vec<&'static str> {
        let gateways = "`mesh.gateways` is empty: no gateway gets a snapshot, so each refuses every request; write the SPIFFE id of the gateways' service account";
        let issuers = "there are neither `issuers` nor `introspection`: API keys, workloads and service tokens apart, each credential is refused; add your identity provider (docs/identity-providers.md)";
        let lacks_issuers = self.issuers.is_empty() && self.introspection.is_empty();
        let lacking = [(!self.principals.have_gateways(), gateways), (lacks_issuers, issuers)];
        lacking.into_iter().filter_map(|(lacks, told)| lacks.then_some(told)).collect()
    }

    /// Keys that stand in the configuration and verify nothing.
    fn unused_keys(&self) -> Vec<String> {
        let of = |issuer: &IssuerConfig| -> Vec<String> {
            let KeySource::Inline(jwks) = &issuer.keys else { return Vec::new() };
            let left_out = KeySet::read(jwks, &issuer.algorithms, issuer.jwt_svid).left_out;
            left_out.iter().map(|left| format!("{}: {left}", issuer.issuer)).collect()
        };
        self.issuers.iter().flat_map(of).collect()
    }

    /// Required claims that any value satisfies, also one that says no.
    fn any_values(&self) -> Vec<String> {
        let issuers = self.issuers.iter().map(|i| (&i.issuer, &i.required_claims));
        let providers = self.introspection.iter().map(|p| (&p.document.issuer, &p.document.required_claims));
        let any = |(issuer, claims): (&IssuerId, &Vec<RequiredClaim>)| -> Vec<String> {
            let unnamed = claims.iter().filter(|required| required.any_of.is_empty());
            let text = "with any value, also false; name the accepted ones in `anyOf`";
            unnamed.map(|c| format!("{issuer} requires {} {text}", c.claim.join(" > "))).collect()
        };
        issuers.chain(providers).flat_map(any).collect()
    }

    /// A rule that fits everybody and is not the last one: those behind it are never reached.
    fn catch_all(&self) -> Option<String> {
        let (_, all_but_last) = self.source_rules.rules.split_last()?;
        let rule = all_but_last.iter().find(|rule| rule.when == SourceConditions::default())?;
        let text = "has no conditions and fits everybody: no rule behind it is ever reached";
        Some(["source rule ", &rule.name, " ", text].concat())
    }

    /// Whose credentials no source rule can fit.
    fn without_rule(&self) -> Vec<String> {
        let issuers = self.issuers.iter().filter_map(|issuer| {
            let names = [issuer.names(), vec![issuer.issuer.clone()]].concat();
            self.no_rule(CredentialKind::Jwt, &names).then(|| issuer.issuer.to_string())
        });
        let providers = self.introspection.iter().map(|provider| &provider.document.issuer);
        let providers = providers
            .filter(|issuer| self.no_rule(CredentialKind::OauthToken, &[(*issuer).clone()]))
            .map(ToString::to_string);
        let workloads = !self.workloads.workloads.is_empty() && self.no_rule(CredentialKind::Workload, &[]);
        let workloads = workloads.then(|| "`workloads`".to_owned());
        issuers.chain(providers).chain(workloads).map(|of| no_rule_fits(&of)).collect()
    }

    /// Whether no source rule is for credentials of this kind and of an issuer with one of these names.
    fn no_rule(&self, kind: CredentialKind, names: &[IssuerId]) -> bool {
        let fits = |when: &SourceConditions| {
            when.credential.as_ref().is_none_or(|kinds| kinds.contains(&kind))
                && when.issuer.as_ref().is_none_or(|issuers| issuers.iter().any(|i| names.contains(i)))
        };
        !self.source_rules.rules.iter().any(|rule| fits(&rule.when))
    }
}

fn no_rule_fits(of: &str) -> String {
    let text = "no source rule can fit, so each of its credentials is refused as source_type_unknown; add one to `sourceRules`";
    [of, ": ", text].concat()
}

impl Config {
    /// What is allowed and should be looked at all the same.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let own = self.service_tokens.as_ref().map(|tokens| &tokens.issuer);
        let own = own.filter(|own| self.policy.no_rule(CredentialKind::ServiceToken, &[(*own).clone()]));
        let own = own.map(|issuer| no_rule_fits(issuer.as_str()));
        self.policy.warnings().into_iter().chain(own).collect()
    }
}
