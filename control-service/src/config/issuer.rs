//! Issuers of JSON Web Tokens.

use std::path::Path;
use std::time::Duration;

use portcullis_authn::jwk::{KeySet, read_members};
use portcullis_identity::ids::{IssuerId, TenantId};
use portcullis_model::policy::{Algorithm, ClaimMapping, Jwks, MAX_LEEWAY_SECONDS, RequiredClaim};
use serde_json::Value;

use super::files::{self, Remote};
use super::section::Section;
use crate::secret::SecretBytes;

/// The module reads no longer credential, so no issuer can be allowed one.
const MAX_TOKEN_BYTES: u32 = 8192;
/// Required claims and accepted values of one issuer at most.
const MAX_CLAIMS: usize = 64;
/// Members of a JSON Web Key that only its owner may have (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

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
    /// Accepted `typ` values; empty for `jwt`, `at+jwt` and none.
    pub token_types: Vec<String>,
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
    /// For how long after their last good fetch its keys are used.
    pub max_stale: Duration,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySource {
    /// Fetched regularly: a JSON Web Key Set.
    KeySet(Remote),
    /// Fetched regularly: the address of the key set is told by OpenID Connect Discovery 1.0.
    Discovery(Remote),
    /// Written in the configuration.
    Inline(Jwks),
    /// A secret that the issuer and the gateways share (HS256, HS384, HS512).
    Shared(SecretBytes),
}

impl KeySource {
    /// What is fetched, for sources that are.
    #[must_use]
    pub fn remote(&self) -> Option<&Remote> {
        match self {
            Self::KeySet(remote) | Self::Discovery(remote) => Some(remote),
            Self::Inline(_) | Self::Shared(_) => None,
        }
    }

    /// Its name in lists.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeySet(_) => "jwks_uri",
            Self::Discovery(_) => "discovery",
            Self::Inline(_) => "inline",
            Self::Shared(_) => "hmac",
        }
    }
}

pub(super) fn read(folder: &Path, mut section: Section<'_>) -> Option<IssuerConfig> {
    let issuer: Option<IssuerId> = section.required("issuer", "the exact `iss` of its tokens");
    let audiences = audiences(&mut section);
    let algorithms: Option<Vec<Algorithm>> = section.required("algorithms", "for example [RS256, ES256]");
    if algorithms.as_ref().is_some_and(Vec::is_empty) {
        section.error("algorithms", "must name at least one algorithm");
    }
    let token_types = token_types(&mut section);
    let max_token_bytes = section.number("maxTokenBytes", 0, 0, MAX_TOKEN_BYTES);
    let required_claims = required_claims(&mut section);
    let tenants = section.filled("tenants").unwrap_or_default();
    let leeway_seconds = section.number("leewaySeconds", 30, 0, MAX_LEEWAY_SECONDS);
    let max_age_seconds = section.number("maxAgeSeconds", 0, 0, 366 * 86_400);
    let claims = claims(&mut section);
    let has_max_stale = section.has("maxStaleSeconds");
    let max_stale = section.number("maxStaleSeconds", 86_400, 2, 30 * 86_400);
    let keys = keys(folder, &mut section, issuer.as_ref(), algorithms.as_deref().unwrap_or_default());
    if has_max_stale && keys.as_ref().is_some_and(|keys| keys.remote().is_none()) {
        section.error("maxStaleSeconds", "is for keys that are fetched: with jwksUri or discovery");
    }
    section.finish();
    Some(IssuerConfig {
        issuer: issuer?,
        audiences: audiences?,
        algorithms: algorithms?,
        keys: keys?,
        token_types,
        max_token_bytes,
        required_claims,
        tenants,
        leeway_seconds,
        max_age_seconds,
        claims,
        max_stale: Duration::from_secs(max_stale.into()),
    })
}

pub(super) fn audiences(section: &mut Section<'_>) -> Option<Vec<String>> {
    let audiences: Option<Vec<String>> = section.required("audiences", "one of them must be in `aud`");
    if audiences.as_ref().is_some_and(|a| a.is_empty() || a.iter().any(String::is_empty)) {
        section.error("audiences", "must name at least one audience, none of them empty");
    }
    audiences
}

pub(super) fn claims(section: &mut Section<'_>) -> ClaimMapping {
    let claims: ClaimMapping = section.optional("claims").unwrap_or_default();
    let all = [&claims.subject, &claims.tenant, &claims.roles, &claims.scopes, &claims.client_id];
    if claims.subject.is_empty() || claims.tenant.is_empty() || all.iter().any(|p| !is_path(p)) {
        section.error("claims", "every path is a list of member names; subject and tenant need one");
    }
    claims
}

/// True for a path that can be followed, or for none at all.
fn is_path(path: &[String]) -> bool {
    path.len() <= 16 && path.iter().all(|name| (1..=255).contains(&name.len()))
}

pub(super) fn required_claims(section: &mut Section<'_>) -> Vec<RequiredClaim> {
    let claims: Vec<RequiredClaim> = section.optional("requiredClaims").unwrap_or_default();
    let bad = |c: &RequiredClaim| c.claim.is_empty() || !is_path(&c.claim) || c.any_of.len() > MAX_CLAIMS;
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

fn keys(
    folder: &Path,
    section: &mut Section<'_>,
    issuer: Option<&IssuerId>,
    algorithms: &[Algorithm],
) -> Option<KeySource> {
    let uri: Option<String> = section.optional("jwksUri");
    let discovery: bool = section.optional("discovery").unwrap_or(false);
    let inline: Option<Value> = section.optional("jwks");
    let has_secret = section.has("hmacKeyFile");
    let secret = files::secret(folder, section, "hmacKeyFile");
    let has_authorities = section.has("caFile");
    let authorities = files::authorities(folder, section);
    let given = [uri.is_some(), discovery, inline.is_some(), has_secret];
    if given.iter().filter(|g| **g).count() != 1 {
        section.error("jwksUri", "give exactly one of jwksUri, discovery: true, jwks and hmacKeyFile");
        return None;
    }
    if has_authorities && !(uri.is_some() || discovery) {
        section.error("caFile", "is for keys that are fetched: with jwksUri or discovery");
    }
    let shared = algorithms.iter().filter(|a| hmac_bytes(**a).is_some()).count();
    if !has_secret && shared > 0 {
        section.error("algorithms", "HS256, HS384 and HS512 need a shared secret: hmacKeyFile");
    }
    if has_secret && shared < algorithms.len() {
        section.error(
            "algorithms",
            "with hmacKeyFile only HS256, HS384 and HS512: a shared secret is never mixed",
        );
    }
    if let Some(text) = uri {
        let url = files::address(section, "jwksUri", &text)?;
        return Some(KeySource::KeySet(Remote { url, authorities }));
    }
    if discovery {
        // OpenID Connect Discovery 1.0 §4: the issuer's own address, without a slash at its end.
        let text = [issuer?.as_str().trim_end_matches('/'), "/.well-known/openid-configuration"].concat();
        let url = files::address(section, "discovery", &text)?;
        return Some(KeySource::Discovery(Remote { url, authorities }));
    }
    if let Some(value) = inline {
        return inline_keys(section, &value, algorithms).map(KeySource::Inline);
    }
    let secret = secret?;
    let needed = algorithms.iter().filter_map(|a| hmac_bytes(*a)).max().unwrap_or(32);
    if secret.reveal().len() < needed {
        // RFC 7518 §3.2: not shorter than the hash.
        section.error("hmacKeyFile", format!("holds less than {needed} bytes, which these algorithms need"));
    }
    Some(KeySource::Shared(secret))
}

/// Bytes that the key of an HMAC algorithm must have; `None` for the others.
fn hmac_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

fn inline_keys(section: &Section<'_>, value: &Value, algorithms: &[Algorithm]) -> Option<Jwks> {
    let Some(members) = value.get("keys").and_then(Value::as_array) else {
        section.error("jwks", "is not a JSON Web Key Set: it needs `keys`, a list");
        return None;
    };
    let private = |key: &Value| PRIVATE_MEMBERS.iter().any(|name| key.get(name).is_some());
    if members.iter().any(private) {
        section.error("jwks", "holds a private or secret key; write the public members only");
        return None;
    }
    if members.is_empty() {
        section.error("jwks", "holds no key");
    }
    let (jwks, unread) = read_members(members);
    let set = KeySet::read(&jwks, algorithms);
    // Without good algorithms it is no wonder that none can be used.
    let none = !algorithms.is_empty() && set.used.keys.is_empty();
    for left in unread.iter().chain(set.left_out.iter().filter(|_| none)) {
        section.error("jwks", left.to_string());
    }
    Some(jwks)
}
