//! JSON Web Tokens (RFC 7519) of configured issuers.

use portcullis_core::Reason;
use portcullis_core::claims::{Claims, claim};
use portcullis_core::identity::{CredentialKind, Principal};
use portcullis_core::ids::{ClientId, KeyId, Role, Scope, Subject, TenantId};
use portcullis_core::snapshot::policy::{ClaimMapping, IssuerDocument};
use portcullis_core::snapshot::state::SnapshotState;
use serde_json::Value;

use crate::Verified;
use crate::jws::Jws;
use crate::keys::{KeyRing, NativeVerify};

/// Actors in a chain that are read; a longer one is refused.
const MAX_ACTORS: usize = 8;

/// Roles or scopes of one token that are read; more are refused.
const MAX_NAMES: usize = 64;

/// Verifies a token: form, issuer, algorithm, key, signature, and only then judges its claims.
///
/// The claims are read before the signature is verified, so that a claim of the wrong form has the same
/// reason whether the host verifies or jwt-simple, which reads the registered claims itself.
///
/// # Errors
/// The reason of the refusal.
pub fn verify(
    token: &[u8],
    snapshot: &SnapshotState,
    keys: &mut KeyRing,
    native: &dyn NativeVerify,
    now_s: u64,
) -> Result<Verified, Reason> {
    let jws = Jws::parse(token)?;
    let issuer = jws.claims.get("iss").and_then(Value::as_str).ok_or(Reason::IssuerUnknown)?;
    let document = snapshot.issuer(issuer).ok_or(Reason::IssuerUnknown)?;
    let algorithm = document
        .algorithms
        .iter()
        .find(|alg| alg.as_str() == jws.algorithm)
        .ok_or(Reason::AlgorithmNotAllowed)?;
    let prepared = keys.keys(document);
    let key = prepared.select(*algorithm, jws.key_id.as_deref()).ok_or(Reason::KeyUnknown)?;
    let times = Times::read(&jws.claims)?;
    let audience = audience(&jws.claims)?;
    let mut principal = principal(&jws, document)?;
    if !key.verify(&jws, native) {
        return Err(Reason::SignatureInvalid);
    }
    // From the key and not from the token: a revoked key must not pass by leaving its name out.
    principal.key_id = key.id().and_then(|kid| KeyId::new(kid).ok());
    principal.expires_at = times.judge(document, now_s)?;
    if !audience.iter().any(|a| document.audiences.iter().any(|d| d == a)) {
        return Err(Reason::AudienceMismatch);
    }
    Ok(Verified { principal, claims: jws.claims, source_type: None })
}

/// A NumericDate (RFC 7519 §2), whole seconds; `None` when absent.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value was checked to lie between 0 and 2^53"
)]
fn numeric_date(claims: &Claims, name: &str) -> Result<Option<u64>, Reason> {
    const MAX: f64 = 9_007_199_254_740_992.0;
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match (value.as_u64(), value.as_f64()) {
            (Some(seconds), _) if seconds <= (1 << 53) => Ok(Some(seconds)),
            (None, Some(seconds)) if (0.0..=MAX).contains(&seconds) => Ok(Some(seconds as u64)),
            _ => Err(Reason::ClaimInvalid),
        },
    }
}

/// The times of a token, seconds since the Unix epoch.
struct Times {
    exp: u64,
    nbf: Option<u64>,
    iat: Option<u64>,
}

impl Times {
    fn read(claims: &Claims) -> Result<Self, Reason> {
        Ok(Self {
            exp: numeric_date(claims, "exp")?.ok_or(Reason::ClaimInvalid)?,
            nbf: numeric_date(claims, "nbf")?,
            iat: numeric_date(claims, "iat")?,
        })
    }

    /// Judges the times and the age, and returns when the identity ends.
    fn judge(&self, document: &IssuerDocument, now_s: u64) -> Result<u64, Reason> {
        let leeway = u64::from(document.leeway_seconds);
        let mut ends = self.exp.saturating_add(leeway);
        if document.max_age_seconds > 0 {
            let issued = self.iat.ok_or(Reason::ClaimInvalid)?;
            let age = u64::from(document.max_age_seconds).saturating_add(leeway);
            ends = ends.min(issued.saturating_add(age));
        }
        if now_s >= ends {
            return Err(Reason::TokenExpired);
        }
        let latest_start = now_s.saturating_add(leeway);
        if self.nbf.is_some_and(|t| t > latest_start) || self.iat.is_some_and(|t| t > latest_start) {
            return Err(Reason::TokenNotYetValid);
        }
        Ok(ends)
    }
}

/// The audiences (RFC 7519 §4.1.3): one text or a list of them.
fn audience(claims: &Claims) -> Result<Vec<&str>, Reason> {
    let found: Option<Vec<&str>> = match claims.get("aud") {
        None => Some(Vec::new()),
        Some(Value::String(one)) => Some(vec![one.as_str()]),
        Some(Value::Array(members)) => members.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    found.ok_or(Reason::ClaimInvalid)
}

/// Whom the token speaks for; when that ends is set once the times are judged.
fn principal(jws: &Jws<'_>, document: &IssuerDocument) -> Result<Principal, Reason> {
    let invalid = Reason::ClaimInvalid;
    let claims = &jws.claims;
    let mapping: &ClaimMapping = &document.claims;
    let text = |path: &[String]| claim(claims, path).and_then(Value::as_str);
    let client = match text(&mapping.client_id).or_else(|| claims.get("azp").and_then(Value::as_str)) {
        Some(id) => Some(ClientId::new(id).map_err(|_| invalid)?),
        None => None,
    };
    let roles = names(claim(claims, &mapping.roles))?;
    let scopes = names(claim(claims, &mapping.scopes))?;
    Ok(Principal {
        subject: text(&mapping.subject).and_then(|s| Subject::new(s).ok()).ok_or(invalid)?,
        tenant: text(&mapping.tenant).and_then(|t| TenantId::new(t).ok()).ok_or(invalid)?,
        roles: roles.into_iter().map(Role::new).collect::<Result<_, _>>().map_err(|_| invalid)?,
        scopes: scopes.into_iter().map(Scope::new).collect::<Result<_, _>>().map_err(|_| invalid)?,
        credential: CredentialKind::Jwt,
        key_id: None,
        issuer: Some(document.issuer.clone()),
        client_id: client,
        spiffe_id: None,
        actors: actors(claims)?,
        expires_at: 0,
        token_id: match claims.get("jti") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(invalid)?.to_owned()),
        },
    })
}

/// A list of names, or one text of names separated by spaces.
fn names(value: Option<&Value>) -> Result<Vec<&str>, Reason> {
    let found: Option<Vec<&str>> = match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(text)) => Some(text.split(' ').filter(|n| !n.is_empty()).collect()),
        Some(Value::Array(members)) => members.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    found.filter(|names| names.len() <= MAX_NAMES).ok_or(Reason::ClaimInvalid)
}

/// The chain of actors (RFC 8693 §4.1), the current one first.
fn actors(claims: &Claims) -> Result<Vec<Subject>, Reason> {
    let mut chain = Vec::new();
    let mut next = claims.get("act");
    while let Some(act) = next {
        let subject = act.get("sub").and_then(Value::as_str).and_then(|s| Subject::new(s).ok());
        chain.push(subject.ok_or(Reason::ClaimInvalid)?);
        if chain.len() > MAX_ACTORS {
            return Err(Reason::ClaimInvalid);
        }
        next = act.get("act");
    }
    Ok(chain)
}
