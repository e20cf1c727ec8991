//! What filters get of an issuer, and what is told of its keys.

use std::collections::HashMap;

use portcullis_authn::jwk::LeftOut;
use portcullis_authn::key_set::KeySet;
use portcullis_control_config::{IssuerConfig, KeySource};
use portcullis_control_domain::clock::{millis, now_ms};
use portcullis_control_domain::issuer::{IssuerReport, KeyState, StoredKeys};
use portcullis_model::policy::{IssuerDocument, Jwk, Jwks};

use super::fetch::{FetchError, Fetcher};
use super::health::{Health, are_expired};

/// The keys of an issuer as of now.
pub(super) struct CurrentKeys {
    /// Those that filters can verify with, and the others.
    pub(super) set: KeySet,
    /// Whether there were some that are too old.
    expired: bool,
}

impl CurrentKeys {
    /// Without keys yet, an issuer's tokens are refused for want of a key.
    pub(super) fn of(issuer: &IssuerConfig, known: &HashMap<String, StoredKeys>, now_ms: u64) -> Self {
        let of = |jwks: &Jwks| KeySet::read(jwks, &issuer.algorithms, issuer.jwt_svid);
        let (set, expired) = match &issuer.keys {
            KeySource::Inline(jwks) => (of(jwks), false),
            // The secret travels apart, to gateways alone.
            KeySource::Shared(_) => (KeySet::default(), false),
            KeySource::KeySet(remote) | KeySource::Discovery(remote) => {
                let of_this_url = |keys: &&StoredKeys| keys.source == remote.url.as_str();
                match known.get(issuer.issuer.as_str()).filter(of_this_url) {
                    Some(keys) if are_expired(keys.fetched_at_ms, millis(issuer.max_stale), now_ms) => {
                        (KeySet::default(), true)
                    }
                    Some(keys) => (of(&keys.jwks), false),
                    None => (KeySet::default(), false),
                }
            }
        };
        Self { set, expired }
    }
}

/// What filters get of an issuer.
pub(super) fn document(issuer: &IssuerConfig, keys: CurrentKeys) -> IssuerDocument {
    issuer.document(keys.set.used, keys.expired)
}

/// What filters would get of an issuer whose keys were never fetched.
#[must_use]
pub fn document_without_fetch(issuer: &IssuerConfig) -> IssuerDocument {
    document(issuer, CurrentKeys::of(issuer, &HashMap::new(), now_ms()))
}

/// The same with the keys that it publishes just now.
///
/// # Errors
/// [`FetchError`] when they cannot be had.
pub async fn document_with_fetch(issuer: &IssuerConfig) -> Result<IssuerDocument, FetchError> {
    let Some(fetcher) = Fetcher::new(issuer)? else { return Ok(document_without_fetch(issuer)) };
    let jwks = fetcher.fetch().await?.jwks;
    let source = fetcher.url().to_string();
    let keys = StoredKeys { issuer: issuer.issuer.to_string(), source, jwks, fetched_at_ms: now_ms() };
    let known = HashMap::from([(keys.issuer.clone(), keys)]);
    Ok(document(issuer, CurrentKeys::of(issuer, &known, now_ms())))
}

/// What is told of a configured issuer.
pub(super) fn report(
    issuer: &IssuerConfig,
    set: &KeySet,
    health: Option<&Health>,
    now_ms: u64,
) -> IssuerReport {
    let fetched_at_ms = health.map(|h| h.fetched_at_ms).filter(|at| *at > 0);
    IssuerReport {
        url: issuer.keys.remote().map(|r| r.url.to_string()),
        state: match health.map_or(KeyState::Configured, |h| h.state(now_ms)) {
            KeyState::Fresh | KeyState::Stale if set.used.keys.is_empty() => KeyState::Empty,
            state => state,
        },
        fetched_at_ms,
        age_s: fetched_at_ms.map(|at| now_ms.saturating_sub(at) / 1000),
        fetched: health.map_or(0, |h| h.fetched),
        failed: health.map_or(0, |h| h.failed),
        last_error: health.and_then(|h| h.last_error.clone()),
        ..with_keys(issuer.issuer.as_str(), issuer.keys.name(), &set.used)
    }
}

/// What is told of the service's own issuer.
pub(super) fn own_report(document: &IssuerDocument) -> IssuerReport {
    with_keys(document.issuer.as_str(), "own", &document.jwks)
}

fn with_keys(issuer: &str, source: &'static str, jwks: &Jwks) -> IssuerReport {
    IssuerReport {
        issuer: issuer.to_owned(),
        source: source.to_owned(),
        url: None,
        state: KeyState::Configured,
        keys: jwks.keys.iter().filter_map(|k: &Jwk| k.kid.clone()).collect(),
        key_count: jwks.keys.len(),
        fetched_at_ms: None,
        age_s: None,
        fetched: 0,
        failed: 0,
        last_error: None,
    }
}

/// Members of a set that are no keys, and keys that are not used.
pub(super) fn all_left_out(mut unread: Vec<LeftOut>, mut unused: Vec<LeftOut>) -> Vec<LeftOut> {
    unread.append(&mut unused);
    unread
}

/// Whether two sets have the same keys: issuers that list them now so and now otherwise have not changed them.
pub(super) fn are_same(one: &Jwks, other: &Jwks) -> bool {
    let sorted = |jwks: &Jwks| {
        let mut keys: Vec<_> =
            jwks.keys.iter().map(|key| serde_json::to_string(key).unwrap_or_default()).collect();
        keys.sort_unstable();
        keys
    };
    sorted(one) == sorted(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_no_change() {
        let key = |kid: &str| Jwk { kty: "RSA".into(), kid: Some(kid.into()), ..Jwk::default() };
        let of = |kids: &[&str]| Jwks { keys: kids.iter().map(|kid| key(kid)).collect() };
        assert!(are_same(&of(&["a", "b"]), &of(&["b", "a"])));
        assert!(!are_same(&of(&["a", "b"]), &of(&["a"])) && !are_same(&of(&["a"]), &of(&["a", "a"])));
    }
}
