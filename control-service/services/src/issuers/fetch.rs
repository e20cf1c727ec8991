//! Fetching a key set (RFC 7517), directly or by OpenID Connect Discovery 1.0.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_authn::jwk::{LeftOut, read_members};
use portcullis_control_config::{IssuerConfig, KeySource, Remote, is_trustworthy};
use portcullis_identity::ids::IssuerId;
use portcullis_model::policy::Jwks;
use reqwest::header::HeaderValue;
use reqwest::{Client, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::outbound::{self, CallError};

/// Bytes of a key set at most: it travels to filters as one record, and they take no page over 256 KiB.
const MAX_BYTES: usize = 128 * 1024;
/// Bytes of a token that goes with a call, at most.
const MAX_TOKEN: usize = 16 * 1024;
/// How long one call may take.
const FETCH_TIME: Duration = Duration::from_secs(5);

/// Why a key set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer is not a key set.
    #[error("is not a JSON Web Key Set: {0}")]
    Malformed(serde_json::Error),
    /// The answer is not a discovery document.
    #[error("is not an OpenID Connect discovery document: {0}")]
    Discovery(serde_json::Error),
    /// The discovery document is another issuer's.
    #[error("the discovery document is of issuer {0:?}")]
    OtherIssuer(String),
    /// The token that goes with the call cannot be had.
    #[error("bearerTokenFile {0}")]
    Token(&'static str),
    /// The discovery document names an address that cannot be trusted.
    #[error(
        "the discovery document's jwks_uri {0:?} is not https; plain http is accepted where the document itself came by it from a loopback address"
    )]
    Untrusted(String),
}

impl FetchError {
    /// How long the issuer wants not to be asked.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.retry_after(),
            _ => None,
        }
    }
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Call(error.into())
    }
}

/// A key set as it was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Its keys, in the issuer's order: of very many the first are taken.
    pub(super) jwks: Jwks,
    /// Members that are no keys.
    pub(super) unread: Vec<LeftOut>,
}

/// Fetches the keys of one issuer.
pub(super) struct Fetcher {
    client: Client,
    url: Url,
    /// Set when the address of the keys is to be discovered.
    discovers: Option<IssuerId>,
    token_file: Option<PathBuf>,
}

impl Fetcher {
    /// A fetcher for a source that is fetched; `None` for the others.
    ///
    /// # Errors
    /// [`FetchError`] when the system's TLS configuration cannot be used.
    pub(super) fn new(issuer: &IssuerConfig) -> Result<Option<Self>, FetchError> {
        let (remote, discovers): (&Remote, _) = match &issuer.keys {
            KeySource::KeySet(remote) => (remote, None),
            KeySource::Discovery(remote) => (remote, Some(issuer.issuer.clone())),
            KeySource::Inline(_) | KeySource::Shared(_) => return Ok(None),
        };
        let client = outbound::client(remote, FETCH_TIME)?;
        let (url, token_file) = (remote.url.clone(), remote.token_file.clone());
        Ok(Some(Self { client, url, discovers, token_file }))
    }

    /// What is fetched, as the configuration says it.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Fetches once.
    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let url = match &self.discovers {
            Some(issuer) => key_set_of(&self.get(&self.url).await?, issuer, &self.url)?,
            None => self.url.clone(),
        };
        read_keys(&self.get(&url).await?)
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        let mut request = self.client.get(url.clone()).header("accept", "application/json");
        // The token is for the server that the operator named, and for no other one that this one leads to.
        if let Some(file) = self.token_file.as_ref().filter(|_| url.origin() == self.url.origin()) {
            request = request.header("authorization", bearer(file).await?);
        }
        Ok(outbound::body(request.send().await?, MAX_BYTES).await?)
    }
}

/// The header with the token of a file, as it is now: such tokens are replaced all the time.
async fn bearer(file: &Path) -> Result<HeaderValue, FetchError> {
    let text = tokio::fs::read_to_string(file).await.map_err(|_| FetchError::Token("cannot be read"))?;
    let text = Zeroizing::new(text);
    let token = text.trim();
    if !(1..=MAX_TOKEN).contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(FetchError::Token("holds no token: one line of visible ASCII characters"));
    }
    let header = Zeroizing::new(["Bearer ", token].concat());
    let mut value = HeaderValue::from_str(&header).map_err(|_| FetchError::Token("holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The address of the keys, from a discovery document (OpenID Connect Discovery 1.0 §4.3: its issuer must
/// be the one asked for, exactly). A document that came over https leads to nothing that does not: an issuer
/// elsewhere has no business naming an address of this machine.
fn key_set_of(body: &[u8], issuer: &IssuerId, from: &Url) -> Result<Url, FetchError> {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        jwks_uri: String,
    }
    let document: Document = serde_json::from_slice(body).map_err(FetchError::Discovery)?;
    if document.issuer != issuer.as_str() {
        return Err(FetchError::OtherIssuer(document.issuer.chars().take(255).collect()));
    }
    let trusted = |url: &Url| url.scheme() == "https" || (from.scheme() == "http" && is_trustworthy(url));
    let url = Url::parse(&document.jwks_uri).ok().filter(trusted);
    url.ok_or_else(|| FetchError::Untrusted(document.jwks_uri.chars().take(255).collect()))
}

/// Reads a set. None in it is an answer too: the issuer has withdrawn the others.
fn read_keys(body: &[u8]) -> Result<Fetched, FetchError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body).map_err(FetchError::Malformed)?;
    let (jwks, unread) = read_members(&set.keys);
    Ok(Fetched { jwks, unread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_without_keys_is_an_answer_and_anything_else_is_none() {
        for (body, unread) in [(&br#"{"keys":[]}"#[..], 0), (br#"{"keys":[7,{"kid":"no type"}]}"#, 2)] {
            let fetched = read_keys(body).unwrap();
            assert_eq!((fetched.jwks, fetched.unread.len()), (Jwks::default(), unread));
        }
        for body in [&b"<html>"[..], b"{}", b"[]", br#"{"keys":null}"#, br#"{"keys":{}}"#, b""] {
            assert!(matches!(read_keys(body), Err(FetchError::Malformed(_))), "{body:?}");
        }
    }

    #[test]
    fn a_discovery_document_must_be_the_issuers_own() {
        let issuer = IssuerId::new("https://idp.example.com/").unwrap();
        let from = std::cell::Cell::new("https://idp.example.com/.well-known/openid-configuration");
        let tell = |issuer_member: &str, uri: &str| {
            let text = serde_json::json!({"issuer": issuer_member, "jwks_uri": uri}).to_string();
            key_set_of(text.as_bytes(), &issuer, &Url::parse(from.get()).unwrap())
        };
        let good = "https://keys.example.com/k";
        assert_eq!(tell("https://idp.example.com/", good).unwrap().as_str(), good);
        // Without the slash it is another issuer.
        assert!(matches!(tell("https://idp.example.com", good), Err(FetchError::OtherIssuer(_))));
        let local = "http://127.0.0.1:1/k";
        for bad in ["http://keys.example.com/k", "ftp://127.0.0.1/", "keys", local, "http://[::1]/k"] {
            assert!(matches!(tell("https://idp.example.com/", bad), Err(FetchError::Untrusted(_))), "{bad}");
        }
        let document = Url::parse(from.get()).unwrap();
        assert!(matches!(key_set_of(b"{}", &issuer, &document), Err(FetchError::Discovery(_))));
        // What came from this machine by plain http may name another address of it, and nobody else's.
        from.set("http://127.0.0.1:2/.well-known/openid-configuration");
        assert_eq!(tell("https://idp.example.com/", local).unwrap().as_str(), local);
        assert!(tell("https://idp.example.com/", "http://keys.example.com/k").is_err());
    }
}
