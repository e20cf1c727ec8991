//! Joining: a key of the agent's own, a certificate for it, and what the platform tells. Killed at any step, it goes on from
//! there when it is started again, with the same key: the platform gives that key the same answer.

use portcullis_control_contract::agents::{CertificateIssued, CertificateRequest, JoinSecret};
use portcullis_control_domain::clock::rfc3339;
use rcgen::{CertificateParams, DistinguishedName};

use crate::call::{CallError, Platform};
use crate::configuration::{Shared, take_over};
use crate::connect::{Proxy, Server, Trust};
use crate::credential::{Credential, CredentialError};
use crate::folder::{FolderError, OwnFolder};
use crate::state::Issued;

/// Why an agent did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Key or certificate.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The token is over.
    #[error("the join token {id} {why}: ask for another one (portcullis clusters join-token CLUSTER)")]
    TokenOver {
        /// Its public id.
        id: String,
        /// In which way.
        why: &'static str,
    },
    /// The call.
    #[error(transparent)]
    Call(CallError),
    /// No request can be made of the key.
    #[error("the request for a certificate cannot be made: {0}")]
    Request(rcgen::Error),
    /// Another cluster.
    #[error(
        "this agent belongs to the cluster {was}, and the token was one of {now}: another cluster needs another --folder, and \
         another token, since this one is used now"
    )]
    OtherCluster {
        /// The one that it belongs to.
        was: String,
        /// The one that the token was for.
        now: String,
    },
}

/// How it ended.
#[derive(Debug)]
pub enum Joined {
    /// By this token, earlier.
    Already(Issued),
    /// Now.
    Now(Issued),
}

impl std::fmt::Display for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (issued, how) = match self {
            Self::Already(issued) => (issued, "joined already"),
            Self::Now(issued) => (issued, "joined"),
        };
        let Issued { cluster, tenant, not_after_ms, .. } = issued;
        write!(f, "{how}: cluster {cluster} of {tenant}, certificate good until {}", rfc3339(*not_after_ms))
    }
}

/// Joins a platform. Who joined by this very token before has nothing to do; another token is used to join anew, whatever the
/// agent has.
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    folder: &OwnFolder,
    server: &Server,
    proxy: Option<Proxy>,
    token: &JoinSecret,
    now_ms: u64,
) -> Result<Joined, JoinError> {
    let by_this = |held: &Credential| held.issued.token == token.id() && held.issued.not_after_ms > now_ms;
    folder.settle()?;
    let before = folder.credential()?;
    if let Some(held) = before.as_ref().filter(|held| by_this(held)) {
        return Ok(Joined::Already(held.issued.clone()));
    }
    if let Some(held) = folder.next_credential()?.filter(by_this) {
        folder.use_next()?;
        return Ok(Joined::Now(held.issued));
    }
    let trust = Trust { pins: vec![token.pin().to_string()], authorities: String::new() };
    let platform = Platform::new(server.clone(), proxy, trust, None);
    let answer = platform.join(token, &request(folder)?).await.map_err(|error| refused(error, token))?;
    if let Some(held) = before.filter(|held| held.issued.cluster != answer.cluster) {
        folder.forget_next()?;
        let (was, now) = (held.issued.cluster.to_string(), answer.cluster.to_string());
        return Err(JoinError::OtherCluster { was, now });
    }
    let issued = Issued::of(&answer, &server.to_string(), token.id(), now_ms);
    keep(folder, &answer, &issued)?;
    folder.use_next()?;
    Ok(Joined::Now(issued))
}

/// A request for a certificate of the next key. It names nobody: the platform knows who asks.
///
/// # Errors
/// [`JoinError`].
pub(crate) fn request(folder: &OwnFolder) -> Result<CertificateRequest, JoinError> {
    let key = folder.next_key()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).and_then(|request| request.pem()).map_err(JoinError::Request)?;
    Ok(CertificateRequest { csr, version: Some(env!("CARGO_PKG_VERSION").to_owned()) })
}

/// Keeps all of an answer. The certificate is to be used next.
///
/// # Errors
/// [`JoinError`].
pub(crate) fn keep(
    folder: &OwnFolder,
    answer: &CertificateIssued,
    issued: &Issued,
) -> Result<Credential, JoinError> {
    take_over(folder, &answer.configuration, &Shared::default())?;
    Ok(folder.keep_next(&answer.certificate, &answer.configuration.trust_bundle, issued)?)
}

fn refused(error: CallError, token: &JoinSecret) -> JoinError {
    let over = |why| JoinError::TokenOver { id: token.id().to_owned(), why };
    match error.reason() {
        Some("join_token_invalid") => over("is not known to the platform"),
        Some("join_token_ended") => over("is over, or was revoked"),
        Some("join_token_used") => over("was used already, by another key or too long ago"),
        _ => JoinError::Call(error),
    }
}
