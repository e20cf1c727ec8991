//! Verification: what a Data API and a sidecar do.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_compact::{PublicKey, Signature};
use serde::Deserialize;

use crate::identity::{CredentialKind, Principal, SourceType};
use crate::ids::{ClientId, ClusterId, IssuerId, KeyId, Role, Scope, Subject, TenantId};
use crate::token::{MAX_ACTORS, MAX_LIFETIME_S, MAX_TOKEN_LEN, TOKEN_TYPE};

/// Seconds by which the clocks of gateway and Data API may differ.
const LEEWAY_S: u64 = 5;

/// Why a forwarded identity was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a compact JWS, or longer than [`MAX_TOKEN_LEN`].
    #[error("not an identity token in compact form")]
    Malformed,
    /// `alg`, `typ` or `crit` is not what an identity token has.
    #[error("the token's header is not that of an identity token")]
    WrongType,
    /// No key of that `kid`.
    #[error("the token's key is not in the key set: fetch the key set again")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// Another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// Meant for another cluster.
    #[error("the token is meant for another cluster")]
    Audience,
    /// Expired, or not valid yet.
    #[error("the token is expired or not valid yet: compare the clocks")]
    Time,
    /// A claim is missing or malformed.
    #[error("a claim of the token is missing or malformed")]
    Claim,
    /// The key set itself cannot be read.
    #[error("the key set cannot be read: expected a JWKS with OKP keys of curve Ed25519")]
    KeySet,
}

/// Who is calling, as the gateway established it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedIdentity {
    /// Whom the request speaks for.
    pub subject: Subject,
    /// Their tenant.
    pub tenant: TenantId,
    /// Human, worker or MCP agent.
    pub source_type: SourceType,
    /// By what means they proved it at the gateway.
    pub credential: CredentialKind,
    /// Who issued that credential, where there is an issuer: only together with it does a subject name one
    /// person. Gateways of an older version do not tell.
    pub credential_issuer: Option<IssuerId>,
    /// Public id of the key that proved it.
    pub key_id: Option<KeyId>,
    /// The OAuth client.
    pub client_id: Option<ClientId>,
    /// The session at the identity provider (`sid`), by which it can be revoked.
    pub session_id: Option<String>,
    /// Roles.
    pub roles: Vec<Role>,
    /// True when the credential grants roles that are not among these: a rule that refuses by a role must mind
    /// it.
    pub roles_incomplete: bool,
    /// OAuth scopes.
    pub scopes: Vec<Scope>,
    /// Who acts for the subject, the current actor first.
    pub actors: Vec<Subject>,
    /// The cluster that the token is for.
    pub cluster: ClusterId,
    /// When the token ends, seconds since the Unix epoch.
    pub expires_at: u64,
}

impl From<VerifiedIdentity> for Principal {
    /// What the forwarded identity says. The credential behind it is named, and not its token: an identity
    /// token serves several.
    fn from(caller: VerifiedIdentity) -> Self {
        Self {
            subject: caller.subject,
            tenant: caller.tenant,
            roles: caller.roles,
            scopes: caller.scopes,
            credential: caller.credential,
            key_id: caller.key_id,
            issuer: caller.credential_issuer,
            client_id: caller.client_id,
            spiffe_id: None,
            actors: caller.actors,
            expires_at: caller.expires_at,
            token_id: None,
            session_id: caller.session_id,
            derived_from: Vec::new(),
            omitted: 0,
            roles_incomplete: caller.roles_incomplete,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: Subject,
    aud: String,
    iat: u64,
    exp: u64,
    tenant: TenantId,
    source_type: SourceType,
    credential: CredentialKind,
    credential_issuer: Option<IssuerId>,
    key_id: Option<KeyId>,
    client_id: Option<ClientId>,
    sid: Option<String>,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    roles_incomplete: bool,
    #[serde(default)]
    scope: String,
    act: Option<Act>,
}

#[derive(Deserialize)]
struct Act {
    sub: Subject,
    act: Option<Box<Act>>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    x: Option<String>,
}

/// Verifies the identity tokens of one issuer for one cluster.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: HashMap<String, [u8; 32]>,
    issuer: String,
    cluster: ClusterId,
}

impl Verifier {
    /// A verifier from a JSON Web Key Set, as the control service serves it.
    ///
    /// # Errors
    /// [`VerifyError::KeySet`] when the text is no key set or has no usable key.
    pub fn from_jwks(jwks: &str, issuer: &str, cluster: ClusterId) -> Result<Self, VerifyError> {
        let set: Jwks = serde_json::from_str(jwks).map_err(|_| VerifyError::KeySet)?;
        let keys: HashMap<_, _> = set
            .keys
            .into_iter()
            .filter(|k| k.kty == "OKP" && k.crv.as_deref() == Some("Ed25519"))
            .filter_map(|k| Some((k.kid?, URL_SAFE_NO_PAD.decode(k.x?).ok()?.try_into().ok()?)))
            .collect();
        if keys.is_empty() {
            return Err(VerifyError::KeySet);
        }
        Ok(Self { keys, issuer: issuer.to_owned(), cluster })
    }

    /// Verifies the value of `x-portcullis-identity`. `now_s` is the time in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`VerifyError`]; the request must be refused then.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<VerifiedIdentity, VerifyError> {
        verify_with(token, |kid| self.keys.get(kid).copied(), Some(&self.issuer), &self.cluster, now_s)
    }
}

/// Verifies with keys that the caller looks up. Without an issuer, the keys alone say whose token it is.
///
/// # Errors
/// [`VerifyError`]; the request must be refused then.
pub fn verify_with(
    token: &str,
    key: impl FnOnce(&str) -> Option<[u8; 32]>,
    issuer: Option<&str>,
    cluster: &ClusterId,
    now_s: u64,
) -> Result<VerifiedIdentity, VerifyError> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(VerifyError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(VerifyError::Malformed)?;
    let header: Header = read(header).ok_or(VerifyError::WrongType)?;
    if header.alg != "EdDSA" || header.typ != TOKEN_TYPE || header.crit.is_some() {
        return Err(VerifyError::WrongType);
    }
    let key = key(&header.kid).ok_or(VerifyError::UnknownKey)?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .ok()
        .and_then(|bytes| Signature::from_slice(&bytes).ok())
        .ok_or(VerifyError::Malformed)?;
    PublicKey::new(key).verify(signed.as_bytes(), &signature).map_err(|_| VerifyError::Signature)?;
    let claims: Claims = read(claims).ok_or(VerifyError::Claim)?;
    if issuer.is_some_and(|issuer| issuer != claims.iss) {
        return Err(VerifyError::Issuer);
    }
    if claims.aud != cluster.as_str() {
        return Err(VerifyError::Audience);
    }
    let lifetime = claims.exp.saturating_sub(claims.iat);
    if claims.exp.saturating_add(LEEWAY_S) <= now_s
        || claims.iat > now_s.saturating_add(LEEWAY_S)
        || lifetime > u64::from(MAX_LIFETIME_S)
    {
        return Err(VerifyError::Time);
    }
    Ok(VerifiedIdentity {
        actors: actors(claims.act)?,
        scopes: claims
            .scope
            .split(' ')
            .filter(|s| !s.is_empty())
            .map(Scope::new)
            .collect::<Result<_, _>>()
            .map_err(|_| VerifyError::Claim)?,
        subject: claims.sub,
        tenant: claims.tenant,
        source_type: claims.source_type,
        credential: claims.credential,
        credential_issuer: claims.credential_issuer,
        key_id: claims.key_id,
        client_id: claims.client_id,
        session_id: claims.sid,
        roles: claims.roles,
        roles_incomplete: claims.roles_incomplete,
        cluster: cluster.clone(),
        expires_at: claims.exp,
    })
}

fn actors(act: Option<Act>) -> Result<Vec<Subject>, VerifyError> {
    let mut chain = Vec::new();
    let mut next = act.map(Box::new);
    while let Some(act) = next {
        if chain.len() == MAX_ACTORS {
            return Err(VerifyError::Claim);
        }
        chain.push(act.sub);
        next = act.act;
    }
    Ok(chain)
}

fn read<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
