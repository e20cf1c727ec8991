//! The part of `control.yaml` that can be reloaded: principals, issuers and source rules.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use portcullis_core::ids::{ClusterId, IssuerId, SpiffeId};
use portcullis_core::snapshot::policy::{
    Algorithm, ClaimMapping, Jwks, MAX_LEEWAY_SECONDS, SourceRule, SourceRulesDocument,
};

use super::section::Section;
use crate::snapshot::View;

/// What can change while the service runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who may read which view.
    pub principals: Principals,
    /// Issuers of JSON Web Tokens.
    pub issuers: Vec<IssuerConfig>,
    /// Source rules.
    pub source_rules: SourceRulesDocument,
    /// How often keys are fetched.
    pub jwks_refresh: Duration,
}

/// An issuer as configured; its document for the filters is made when its keys are there.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerConfig {
    /// `iss`.
    pub issuer: IssuerId,
    /// Accepted audiences.
    pub audiences: Vec<String>,
    /// Accepted algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Accepted clock difference in seconds.
    pub leeway_seconds: u32,
    /// Greatest accepted age of a token in seconds; 0 for none.
    pub max_age_seconds: u32,
    /// Which claims say what.
    pub claims: ClaimMapping,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySource {
    /// Fetched regularly from this URL.
    Uri(reqwest::Url),
    /// Written in the configuration.
    Inline(Jwks),
}

/// Which SPIFFE id may read which view of the snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Principals {
    gateways: HashSet<SpiffeId>,
    sidecars: HashMap<SpiffeId, HashSet<ClusterId>>,
}

impl Principals {
    /// True when the principal may speak to the mesh API at all.
    #[must_use]
    pub fn knows(&self, principal: &SpiffeId) -> bool {
        self.gateways.contains(principal) || self.sidecars.contains_key(principal)
    }

    /// True when the principal may read the view.
    #[must_use]
    pub fn may_read(&self, principal: &SpiffeId, view: &View) -> bool {
        match view {
            View::Gateway => self.gateways.contains(principal),
            View::Public(cluster) => self.sidecars.get(principal).is_some_and(|own| own.contains(cluster)),
        }
    }
}

pub(super) fn principals(mesh: &mut Section<'_>) -> Principals {
    let gateways: Vec<SpiffeId> = mesh.optional("gateways").unwrap_or_default();
    let mut sidecars: HashMap<SpiffeId, HashSet<ClusterId>> = HashMap::new();
    for mut entry in mesh.list("sidecars") {
        let cluster: Option<ClusterId> = entry.required("cluster", "the id of the data cluster");
        let ids: Option<Vec<SpiffeId>> = entry.required("principals", "the SPIFFE ids of its sidecars");
        if let (Some(cluster), Some(ids)) = (cluster, ids) {
            for id in ids {
                if gateways.contains(&id) {
                    entry.error("principals", format!("{id} is a gateway too; a sidecar needs its own"));
                }
                sidecars.entry(id).or_default().insert(cluster.clone());
            }
        }
        entry.finish();
    }
    Principals { gateways: gateways.into_iter().collect(), sidecars }
}

pub(super) fn read(root: &mut Section<'_>, principals: Principals) -> Policy {
    let refresh = root.number("jwksRefreshSeconds", 60, 1, 3600);
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for section in root.list("issuers") {
        let name = section.name("issuer");
        let Some(read) = issuer(section) else { continue };
        if issuers.iter().any(|other| other.issuer == read.issuer) {
            root.error(&name, format!("{} is configured twice", read.issuer));
        }
        issuers.push(read);
    }
    let rules: Vec<SourceRule> = root.optional("sourceRules").unwrap_or_default();
    let mut names = HashSet::new();
    for rule in &rules {
        if !names.insert(rule.name.as_str()) {
            root.error("sourceRules", format!("two rules are named {:?}; names must differ", rule.name));
        }
    }
    Policy {
        principals,
        issuers,
        source_rules: SourceRulesDocument { rules },
        jwks_refresh: Duration::from_secs(refresh.into()),
    }
}

fn issuer(mut section: Section<'_>) -> Option<IssuerConfig> {
    let issuer: Option<IssuerId> = section.required("issuer", "the exact `iss` of its tokens");
    let audiences: Option<Vec<String>> = section.required("audiences", "one of them must be in `aud`");
    let algorithms: Option<Vec<Algorithm>> = section.required("algorithms", "for example [RS256, ES256]");
    if audiences.as_ref().is_some_and(|a| a.is_empty() || a.iter().any(String::is_empty)) {
        section.error("audiences", "must name at least one audience, none of them empty");
    }
    if algorithms.as_ref().is_some_and(Vec::is_empty) {
        section.error("algorithms", "must name at least one algorithm");
    }
    let shared = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    if algorithms.iter().flatten().any(|a| shared.contains(a)) {
        section.error(
            "algorithms",
            "HS256, HS384 and HS512 are shared secrets, which a key set does not publish; use RS256, ES256 or EdDSA",
        );
    }
    let leeway_seconds = section.number("leewaySeconds", 30, 0, MAX_LEEWAY_SECONDS);
    let max_age_seconds = section.number("maxAgeSeconds", 0, 0, 366 * 86_400);
    let claims = section.optional("claims").unwrap_or_default();
    let keys = keys(&mut section);
    section.finish();
    Some(IssuerConfig {
        issuer: issuer?,
        audiences: audiences?,
        algorithms: algorithms?,
        keys: keys?,
        leeway_seconds,
        max_age_seconds,
        claims,
    })
}

fn keys(section: &mut Section<'_>) -> Option<KeySource> {
    let uri: Option<String> = section.optional("jwksUri");
    let inline: Option<Jwks> = section.optional("jwks");
    match (uri, inline) {
        (Some(text), None) => {
            let url = reqwest::Url::parse(&text)
                .map_err(|e| section.error("jwksUri", format!("{text:?} is not a URL: {e}")))
                .ok()?;
            if !is_trustworthy(&url) {
                section.error("jwksUri", "must be https; plain http is accepted for loopback addresses only");
            }
            Some(KeySource::Uri(url))
        }
        (None, Some(jwks)) => Some(KeySource::Inline(jwks)),
        _ => {
            section.error("jwksUri", "give either jwksUri or jwks");
            None
        }
    }
}

/// Keys that came over plain HTTP could be anybody's, but for this machine's own.
fn is_trustworthy(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}
