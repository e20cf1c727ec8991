//! Issuers of JSON Web Tokens.

use std::path::Path;
use std::time::Duration;

use portcullis_identity::CredentialKind;
use portcullis_identity::ids::{IssuerId, TenantId};
use portcullis_model::claims::NO_ISSUER;
use portcullis_model::issuer::IssuerNames;
use portcullis_model::mapping::{ClaimMapping, InvalidPath};
use portcullis_model::policy::{Algorithm, IssuerDocument, Jwks, MAX_LEEWAY_SECONDS, RequiredClaim};

use super::keys::{self, KeySource};
use super::section::Section;

/// The module reads no longer credential, so no issuer can be allowed one.
const MAX_TOKEN_BYTES: u32 = 8192;
/// Required claims and accepted values of one issuer at most.
const MAX_CLAIMS: usize = 64;

/// An issuer as configured; its document for the filters is made when its keys are there.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerConfig {
    /// `iss`, a template of it, or the trust domain of JWT-SVIDs.
    pub issuer: IssuerId,
    /// Further values of `iss`.
    pub aliases: Vec<IssuerId>,
    /// The values that the segment of a template may have.
    pub issuer_values: Vec<String>,
    /// Whether its tokens are JWT-SVIDs.
    pub jwt_svid: bool,
    /// Accepted audiences.
    pub audiences: Vec<String>,
    /// Accepted algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Accepted `typ` values; empty for `jwt`, `at+jwt` and none.
    pub token_types: Vec<String>,
    /// Whether tokens are taken that say of themselves that they are no access tokens.
    pub any_token_use: bool,
    /// Longest accepted token in bytes; 0 for the module's own limit.
    pub max_token_bytes: u32,
    /// Claims that must be there.
    pub required_claims: Vec<RequiredClaim>,
    /// The tenants for which it may vouch; empty for all.
    pub tenants: Vec<TenantId>,
    /// Accepted clock difference in seconds.
    pub leeway_seconds: u32,
    /// Greatest accepted age of a token in seconds; 0 for none.
    pub max_age_seconds: u32,
    /// Which claims say what.
    pub claims: ClaimMapping,
    /// The provider of introspection that is asked about each of its tokens.
    pub introspection: Option<String>,
    /// For how long after their last good fetch its keys are used.
    pub max_stale: Duration,
}

impl IssuerConfig {
    /// What filters get of it, with these keys. `keys_expired`: they are too old to be used.
    #[must_use]
    pub fn document(&self, jwks: Jwks, keys_expired: bool) -> IssuerDocument {
        IssuerDocument {
            issuer: self.issuer.clone(),
            aliases: self.aliases.clone(),
            issuer_values: self.issuer_values.clone(),
            jwt_svid: self.jwt_svid,
            audiences: self.audiences.clone(),
            algorithms: self.algorithms.clone(),
            jwks,
            leeway_seconds: self.leeway_seconds,
            max_age_seconds: self.max_age_seconds,
            claims: self.claims.clone(),
            credential: CredentialKind::Jwt,
            token_types: self.token_types.clone(),
            any_token_use: self.any_token_use,
            max_token_bytes: self.max_token_bytes,
            required_claims: self.required_claims.clone(),
            tenants: self.tenants.clone(),
            introspection: self.introspection.clone(),
            keys_expired,
        }
    }

    /// Every `iss` that names it.
    #[must_use]
    pub fn names(&self) -> Vec<IssuerId> {
        let names = IssuerNames::of(&self.issuer, &self.aliases, &self.issuer_values);
        names.map(|names| names.all()).unwrap_or_default()
    }
}

pub(crate) fn read(folder: &Path, mut section: Section<'_>) -> Option<IssuerConfig> {
    let issuer: Option<IssuerId> = section.required("issuer", "the exact `iss` of its tokens");
    let audiences = audiences(&mut section);
    let algorithms: Option<Vec<Algorithm>> = section.required("algorithms", "for example [RS256, ES256]");
    if algorithms.as_ref().is_some_and(Vec::is_empty) {
        section.error("algorithms", "must name at least one algorithm");
    }
    let has_max_stale = section.has("maxStaleSeconds");
    let mut config = IssuerConfig {
        // Stands for a name that is missing, so that everything else is checked all the same.
        issuer: issuer.clone().or_else(|| IssuerId::new("missing").ok())?,
        aliases: section.optional("aliases").unwrap_or_default(),
        issuer_values: section.optional("issuerValues").unwrap_or_default(),
        jwt_svid: section.optional("jwtSvid").unwrap_or(false),
        audiences: audiences.clone().unwrap_or_default(),
        algorithms: algorithms.clone().unwrap_or_default(),
        keys: KeySource::Inline(Jwks::default()),
        token_types: token_types(&mut section),
        any_token_use: section.optional("anyTokenUse").unwrap_or(false),
        max_token_bytes: section.number("maxTokenBytes", 0, 0, MAX_TOKEN_BYTES),
        required_claims: required_claims(&mut section),
        tenants: section.filled("tenants").unwrap_or_default(),
        leeway_seconds: section.number("leewaySeconds", 30, 0, MAX_LEEWAY_SECONDS),
        max_age_seconds: section.number("maxAgeSeconds", 0, 0, 366 * 86_400),
        claims: claims(&mut section),
        introspection: section.optional("introspection"),
        max_stale: Duration::from_secs(section.number("maxStaleSeconds", 86_400, 2, 30 * 86_400).into()),
    };
    let no_issuer = |name: &&IssuerId| name.as_str() == NO_ISSUER;
    for (field, found) in
        [("issuer", issuer.as_ref().filter(no_issuer)), ("aliases", config.aliases.iter().find(no_issuer))]
    {
        if found.is_some() {
            section.error(
                field,
                "'-' stands for credentials that have no issuer; write the `iss` of its tokens",
            );
        }
    }
    let keys = keys::read(folder, &mut section, issuer.as_ref(), &config.algorithms, config.jwt_svid);
    if has_max_stale && keys.as_ref().is_some_and(|keys| keys.remote().is_none()) {
        section.error("maxStaleSeconds", "is for keys that are fetched: with jwksUri or discovery");
    }
    for error in config.document(Jwks::default(), false).check() {
        section.error(&error.field, error.problem);
    }
    section.finish();
    config.keys = keys?;
    let whole = issuer.is_some() && audiences.is_some() && algorithms.is_some();
    whole.then_some(config)
}

pub(crate) fn audiences(section: &mut Section<'_>) -> Option<Vec<String>> {
    let audiences: Option<Vec<String>> = section.required("audiences", "one of them must be in `aud`");
    if audiences.as_ref().is_some_and(|a| a.is_empty() || a.iter().any(String::is_empty)) {
        section.error("audiences", "must name at least one audience, none of them empty");
    }
    audiences
}

/// The rules by which claims are read, field by field, so that every mistake is told.
pub(crate) fn claims(section: &mut Section<'_>) -> ClaimMapping {
    let mut fields = section.section("claims");
    let usual = ClaimMapping::default();
    let client_id = match fields.optional::<Vec<String>>("clientId") {
        None => usual.client_id,
        Some(names) if names.is_empty() => None,
        Some(names) => {
            names.try_into().map_err(|e: InvalidPath| fields.error("clientId", e.to_string())).ok()
        }
    };
    let claims = ClaimMapping {
        subject: fields.optional("subject").unwrap_or(usual.subject),
        tenant: fields.optional("tenant").unwrap_or(usual.tenant),
        roles: fields.optional("roles").unwrap_or(usual.roles),
        scopes: fields.optional("scopes").unwrap_or(usual.scopes),
        client_id,
        audience: fields.optional("audience"),
    };
    if let Err(problem) = claims.fits_record() {
        fields.error("", problem);
    }
    fields.finish();
    claims
}

/// True for a path that can be followed.
pub(crate) fn is_path(path: &[String]) -> bool {
    (1..=16).contains(&path.len()) && path.iter().all(|name| (1..=255).contains(&name.len()))
}

pub(crate) fn required_claims(section: &mut Section<'_>) -> Vec<RequiredClaim> {
    let claims: Vec<RequiredClaim> = section.optional("requiredClaims").unwrap_or_default();
    let bad = |c: &RequiredClaim| !is_path(&c.claim) || c.any_of.len() > MAX_CLAIMS;
    if claims.len() > MAX_CLAIMS || claims.iter().any(bad) {
        section.error(
            "requiredClaims",
            "each needs `claim`, a path of member names; at most 64, with 64 values",
        );
    }
    claims
}

fn token_types(section: &mut Section<'_>) -> Vec<String> {
    let types: Vec<String> = section.optional("tokenTypes").unwrap_or_default();
    let sound = |t: &String| (1..=64).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic());
    if types.len() > 16 || !types.iter().all(sound) {
        section.error("tokenTypes", "must be `typ` values such as at+jwt, 16 at most");
    }
    let bare = |t: &String| t.to_ascii_lowercase().trim_start_matches("application/").to_owned();
    if types.iter().any(|t| bare(t) == portcullis_identity::TOKEN_TYPE) {
        section.error("tokenTypes", "an identity token of a gateway is never a credential");
    }
    types
}
