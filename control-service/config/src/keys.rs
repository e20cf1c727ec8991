//! Where an issuer's keys come from.

use std::path::{Path, PathBuf};

use portcullis_authn::jwk::read_members;
use portcullis_authn::key_set::KeySet;
use portcullis_control_domain::secret::SecretBytes;
use portcullis_identity::ids::IssuerId;
use portcullis_model::policy::{Algorithm, Jwks};
use serde_json::Value;
use url::Url;

use super::files::{self, Remote};
use super::section::Section;

/// Members of a JSON Web Key that only its owner may have (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

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

pub(crate) fn read(
    folder: &Path,
    section: &mut Section<'_>,
    issuer: Option<&IssuerId>,
    algorithms: &[Algorithm],
    svid: bool,
) -> Option<KeySource> {
    let uri: Option<String> = section.optional("jwksUri");
    let discovery: bool = section.optional("discovery").unwrap_or(false);
    let inline: Option<Value> = section.optional("jwks");
    let has_secret = section.has("hmacKeyFile");
    let secret = files::secret(folder, section, "hmacKeyFile");
    let has_authorities = section.has("caFile");
    let authorities = files::authorities(folder, section);
    let token_file = token_file(folder, section);
    let given = [uri.is_some(), discovery, inline.is_some(), has_secret];
    if given.iter().filter(|g| **g).count() != 1 {
        section.error("jwksUri", "give exactly one of jwksUri, discovery: true, jwks and hmacKeyFile");
        return None;
    }
    let fetched = uri.is_some() || discovery;
    for (field, given) in [("caFile", has_authorities), ("bearerTokenFile", token_file.is_some())] {
        if given && !fetched {
            section.error(field, "is for keys that are fetched: with jwksUri or discovery");
        }
    }
    check_algorithms(section, algorithms, has_secret);
    if let Some(text) = uri {
        let url = files::address(section, "jwksUri", &text)?;
        return Some(KeySource::KeySet(Remote { url, authorities, token_file }));
    }
    if discovery {
        let url = discovery_url(section, issuer?)?;
        return Some(KeySource::Discovery(Remote { url, authorities, token_file }));
    }
    if let Some(value) = inline {
        return inline_keys(section, &value, algorithms, svid).map(KeySource::Inline);
    }
    let secret = secret?;
    let needed = algorithms.iter().filter_map(|a| hmac_bytes(*a)).max().unwrap_or(32);
    if secret.reveal().len() < needed {
        // RFC 7518 §3.2: not shorter than the hash.
        section.error("hmacKeyFile", format!("holds less than {needed} bytes, which these algorithms need"));
    }
    Some(KeySource::Shared(secret))
}

/// A shared secret and public keys are never mixed.
fn check_algorithms(section: &Section<'_>, algorithms: &[Algorithm], has_secret: bool) {
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
}

/// Where an issuer's document is (OpenID Connect Discovery 1.0 §4): at its own address, without a slash at its end.
fn discovery_url(section: &Section<'_>, issuer: &IssuerId) -> Option<Url> {
    if !issuer.as_str().starts_with("http") {
        section.error("discovery", "needs an issuer that is a URL; give jwksUri");
        return None;
    }
    if issuer.as_str().contains('{') {
        section.error(
            "discovery",
            "a template has no document of its own; give jwksUri, the key set that its issuers share",
        );
        return None;
    }
    let text = [issuer.as_str().trim_end_matches('/'), "/.well-known/openid-configuration"].concat();
    files::address(section, "discovery", &text)
}

/// The file with the token for a key set that is not open to everybody. It must be there now, and may change.
fn token_file(folder: &Path, section: &mut Section<'_>) -> Option<PathBuf> {
    let path = folder.join(section.optional::<PathBuf>("bearerTokenFile")?);
    match std::fs::File::open(&path) {
        Ok(_) => Some(path),
        Err(error) => {
            section.error("bearerTokenFile", format!("cannot read {}: {error}", path.display()));
            None
        }
    }
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

fn inline_keys(section: &Section<'_>, value: &Value, algorithms: &[Algorithm], svid: bool) -> Option<Jwks> {
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
    let set = KeySet::read(&jwks, algorithms, svid);
    // Without good algorithms it is no wonder that none can be used.
    let none = !algorithms.is_empty() && set.used.keys.is_empty();
    for left in unread.iter().chain(set.left_out.iter().filter(|_| none)) {
        section.error("jwks", left.to_string());
    }
    Some(jwks)
}
