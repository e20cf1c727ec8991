//! Issuers' keys: fetched regularly, each issuer by itself, the last good set kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::identity::CredentialKind;
use portcullis_core::snapshot::policy::{IssuerDocument, Jwk, Jwks};
use reqwest::{Client, Url};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::causes::causes;
use crate::config::{IssuerConfig, KeySource, Policy};
use crate::metrics::Metrics;
use crate::store::{Store, StoreError, StoredKeys};

/// Bytes of a key set at most: it travels to filters as one record, and they take no page over 256 KiB.
const MAX_BYTES: usize = 128 * 1024;
/// Keys of one issuer at most.
const MAX_KEYS: usize = 100;
/// How long one fetch may take.
const FETCH_TIME: Duration = Duration::from_secs(5);
/// How soon an issuer that never answered is asked again.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Why a key set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The call failed.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// It was answered by something else than 200.
    #[error("answered {0}; expected 200 (redirects are not followed)")]
    Status(u16),
    /// The answer is too large.
    #[error("is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// The answer is not a key set.
    #[error("is not a JSON Web Key Set: {0}")]
    Malformed(serde_json::Error),
    /// There is no key that could verify anything.
    #[error("holds no public signing key")]
    Empty,
}

struct Known {
    policy: Option<Policy>,
    keys: HashMap<String, StoredKeys>,
    tasks: JoinSet<()>,
}

/// The issuers of the current policy.
pub struct Issuers {
    store: Store,
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
}

impl Issuers {
    /// Begins with the keys that were kept from earlier fetches.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn new(store: Store, metrics: Arc<Metrics>) -> Result<Arc<Self>, StoreError> {
        let kept = store.kept_keys().await?;
        let keys = kept.into_iter().map(|keys| (keys.issuer.clone(), keys)).collect();
        let known = Mutex::new(Known { policy: None, keys, tasks: JoinSet::new() });
        Ok(Arc::new(Self { store, metrics, known }))
    }

    /// Makes a policy the current one: publishes it with the keys at hand and begins to fetch.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be published.
    pub async fn apply(self: &Arc<Self>, policy: &Policy) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        self.store.set_source_rules(&policy.source_rules).await?;
        known.policy = Some(policy.clone());
        self.publish(&known).await?;
        // Dropping the old set ends its tasks.
        known.tasks = JoinSet::new();
        for issuer in &policy.issuers {
            if let KeySource::Uri(url) = &issuer.keys {
                let (name, url, every) = (issuer.issuer.to_string(), url.clone(), policy.jwks_refresh);
                let known_already = known.keys.get(&name).is_some_and(|k| k.source == url.as_str());
                known.tasks.spawn(Arc::clone(self).refresh(name, url, every, known_already));
            }
        }
        Ok(())
    }

    /// Ends all fetching.
    pub async fn stop(&self) {
        self.known.lock().await.tasks.shutdown().await;
    }

    async fn publish(&self, known: &Known) -> Result<(), StoreError> {
        let issuers = known.policy.iter().flat_map(|p| &p.issuers);
        let documents: Vec<_> = issuers.map(|issuer| document(issuer, &known.keys)).collect();
        self.store.set_issuers(&documents).await
    }

    async fn refresh(self: Arc<Self>, issuer: String, url: Url, every: Duration, mut known: bool) {
        loop {
            match fetch(&url).await {
                Ok(jwks) => {
                    self.metrics.jwks_fetched.add(1);
                    match self
                        .learned(StoredKeys { issuer: issuer.clone(), source: url.to_string(), jwks })
                        .await
                    {
                        Ok(()) => known = true,
                        Err(error) => tracing::error!(%issuer, %error, "keys could not be stored"),
                    }
                }
                Err(error) => {
                    self.metrics.jwks_failed.add(1);
                    let error = causes(&error);
                    tracing::warn!(%issuer, %url, error, last_good_kept = known, "keys could not be fetched");
                }
            }
            tokio::time::sleep(if known { every } else { FIRST_RETRY.min(every) }).await;
        }
    }

    async fn learned(&self, keys: StoredKeys) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        if known.keys.get(&keys.issuer) == Some(&keys) {
            return Ok(());
        }
        self.store.keep_keys(keys.clone()).await?;
        tracing::info!(issuer = %keys.issuer, keys = keys.jwks.keys.len(), "new keys");
        known.keys.insert(keys.issuer.clone(), keys);
        self.publish(&known).await
    }
}

/// What filters get of an issuer. Without keys yet, its tokens are refused for want of a key.
fn document(issuer: &IssuerConfig, known: &HashMap<String, StoredKeys>) -> IssuerDocument {
    let jwks = match &issuer.keys {
        KeySource::Inline(jwks) => jwks.clone(),
        KeySource::Uri(url) => known
            .get(issuer.issuer.as_str())
            .filter(|keys| keys.source == url.as_str())
            .map(|keys| keys.jwks.clone())
            .unwrap_or_default(),
    };
    IssuerDocument {
        issuer: issuer.issuer.clone(),
        audiences: issuer.audiences.clone(),
        algorithms: issuer.algorithms.clone(),
        jwks,
        leeway_seconds: issuer.leeway_seconds,
        max_age_seconds: issuer.max_age_seconds,
        claims: issuer.claims.clone(),
        credential: CredentialKind::Jwt,
        token_types: Vec::new(),
        max_token_bytes: 0,
        required_claims: Vec::new(),
    }
}

async fn fetch(url: &Url) -> Result<Jwks, FetchError> {
    let mut builder = Client::builder().timeout(FETCH_TIME).redirect(reqwest::redirect::Policy::none());
    if url.scheme() == "http" {
        // Plain HTTP is for loopback, where no proxy belongs in between.
        builder = builder.no_proxy();
    }
    let mut answer = builder.build()?.get(url.clone()).header("accept", "application/json").send().await?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    read_keys(&body)
}

/// The usable keys of a set. RFC 7517 §5: keys that are not understood are passed over.
fn read_keys(body: &[u8]) -> Result<Jwks, FetchError> {
    #[derive(serde::Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body).map_err(FetchError::Malformed)?;
    let keys: Vec<Jwk> = set
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value(key).ok())
        .filter(|key: &Jwk| matches!(key.kty.as_str(), "RSA" | "EC" | "OKP"))
        .filter(|key| key.key_use.as_deref().is_none_or(|usage| usage == "sig"))
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() { Err(FetchError::Empty) } else { Ok(Jwks { keys }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_verify_nothing_are_passed_over() {
        let body = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"a"},{"kty":"oct","k":"AA"},
            {"kty":"RSA","use":"enc","n":"AA","e":"AQAB"},{"kid":"no type"},7]}"#;
        let keys = read_keys(body).unwrap().keys;
        assert_eq!(keys.iter().map(|k| k.kid.as_deref()).collect::<Vec<_>>(), [Some("a")]);
    }

    #[test]
    fn a_set_without_keys_does_not_replace_a_good_one() {
        assert!(matches!(read_keys(br#"{"keys":[]}"#), Err(FetchError::Empty)));
        assert!(matches!(read_keys(b"<html>"), Err(FetchError::Malformed(_))));
    }
}
