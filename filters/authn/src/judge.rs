//! What claims say and whether that will do: the same for a token's claims and for an introspection's
//! answer.
//!
//! Reading and judging are two steps, because a token is read before its signature is verified and judged
//! afterwards.

use portcullis_identity::ids::{ClientId, IssuerId, Subject, TenantId};
use portcullis_identity::{CredentialKind, MAX_ACTORS, Principal};
use portcullis_model::Reason;
use portcullis_model::claims::{
    Claims, DERIVED_FROM, MAX_DERIVED_FROM, ROLES_INCOMPLETE, claim, has_any, is_revocable,
};
use portcullis_model::mapping::{ClaimFault, ClaimMapping, Found, NoTenant};
use portcullis_model::policy::{IntrospectionDocument, IssuerDocument, MAX_LEEWAY_SECONDS, RequiredClaim};
use serde_json::Value;

use crate::rejected::{Rejected, Whose};

/// The longest name of a revocation, in bytes: of a person, by tenant, issuer and subject.
const MAX_NAME: usize = 600;

/// What is required of claims.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    issuer: &'a IssuerId,
    credential: CredentialKind,
    audiences: &'a [String],
    leeway_s: u64,
    /// 0 for none.
    max_age_s: u64,
    needs_end: bool,
    mapping: &'a ClaimMapping,
    required: &'a [RequiredClaim],
    /// Empty for all.
    tenants: &'a [TenantId],
}

impl<'a> Rules<'a> {
    /// The rules of an issuer of tokens, which this one of them calls itself so.
    ///
    /// # Errors
    /// [`Reason::CredentialUnsupported`] when the policy calls its tokens something that a token cannot be.
    pub fn of_issuer(document: &'a IssuerDocument, name: &'a IssuerId) -> Result<Self, Reason> {
        if !matches!(document.credential, CredentialKind::Jwt | CredentialKind::ServiceToken) {
            return Err(Reason::CredentialUnsupported);
        }
        Ok(Self {
            issuer: name,
            credential: document.credential,
            audiences: &document.audiences,
            leeway_s: document.leeway_seconds.min(MAX_LEEWAY_SECONDS).into(),
            max_age_s: document.max_age_seconds.into(),
            needs_end: true,
            mapping: &document.claims,
            required: &document.required_claims,
            tenants: &document.tenants,
        })
    }

    /// The rules of a provider of introspection. Its answer may leave out when the token ends.
    #[must_use]
    pub fn of_provider(document: &'a IntrospectionDocument) -> Self {
        Self {
            issuer: &document.issuer,
            credential: CredentialKind::OauthToken,
            audiences: &document.audiences,
            leeway_s: document.leeway_seconds.min(MAX_LEEWAY_SECONDS).into(),
            max_age_s: 0,
            needs_end: false,
            mapping: &document.claims,
            required: &document.required_claims,
            tenants: &document.tenants,
        }
    }
}

impl Rules<'_> {
    fn may_vouch_for(&self, tenant: &TenantId) -> bool {
        self.tenants.is_empty() || self.tenants.contains(tenant)
    }
}

/// Claims of the right form, not judged yet.
pub struct Read<'a> {
    claims: &'a Claims,
    rules: Rules<'a>,
    principal: Principal,
    audience: Vec<&'a str>,
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
}

impl<'a> Read<'a> {
    /// Reads the claims.
    ///
    /// # Errors
    /// With [`Reason::ClaimInvalid`] when one that is needed is missing, or one is of the wrong form; with
    /// [`Reason::CredentialUnsupported`] for a token that is bound to a key of its holder (RFC 7800, RFC 8705,
    /// RFC 9449): who has stolen it must not get by as if it were a plain bearer token.
    pub fn new(claims: &'a Claims, rules: Rules<'a>) -> Result<Self, Rejected> {
        Self::of(claims, rules).map_err(|rejected| rejected.by(whose(claims, rules)))
    }

    fn of(claims: &'a Claims, rules: Rules<'a>) -> Result<Self, Rejected> {
        if claims.contains_key("cnf") {
            return Err(Reason::CredentialUnsupported.into());
        }
        let exp = numeric_date(claims, "exp")?;
        if exp.is_none() && rules.needs_end {
            return Err(ClaimFault::of("exp").into());
        }
        Ok(Self {
            claims,
            rules,
            principal: principal(claims, rules)?,
            audience: audience(claims, rules.mapping)?,
            exp,
            nbf: numeric_date(claims, "nbf")?,
            iat: numeric_date(claims, "iat")?,
        })
    }

    /// Judges times, audience and required claims, and gives the principal, which ends with the claims.
    ///
    /// # Errors
    /// Why the claims will not do, and whose they are.
    pub fn judge(self, now_s: u64) -> Result<Principal, Rejected> {
        match self.ends(now_s).and_then(|ends| self.fits().map(|()| ends)) {
            Ok(ends) => Ok(Principal { expires_at: ends, ..self.principal }),
            Err(rejected) => {
                let tenant =
                    Some(self.principal.tenant.clone()).filter(|tenant| self.rules.may_vouch_for(tenant));
                Err(rejected.by(Whose { tenant, ..(&self.principal).into() }))
            }
        }
    }

    fn fits(&self) -> Result<(), Rejected> {
        let rules = self.rules;
        if !self.audience.iter().any(|a| rules.audiences.iter().any(|d| d == a)) {
            return Err(Reason::AudienceMismatch.into());
        }
        if !rules.may_vouch_for(&self.principal.tenant) {
            return Err(Reason::TenantNotAllowed.into());
        }
        match rules.required.iter().find(|required| !is_there(self.claims, required)) {
            Some(missing) => Err(ClaimFault(missing.claim.join(" > ").into()).into()),
            None => Ok(()),
        }
    }

    fn ends(&self, now_s: u64) -> Result<u64, Rejected> {
        let leeway = self.rules.leeway_s;
        let mut ends = self.exp.map_or(u64::MAX, |exp| exp.saturating_add(leeway));
        if self.rules.max_age_s > 0 {
            let issued = self.iat.ok_or_else(|| ClaimFault::of("iat"))?;
            ends = ends.min(issued.saturating_add(self.rules.max_age_s).saturating_add(leeway));
        }
        if now_s >= ends {
            return Err(Reason::TokenExpired.into());
        }
        let latest_start = now_s.saturating_add(leeway);
        if self.nbf.is_some_and(|t| t > latest_start) || self.iat.is_some_and(|t| t > latest_start) {
            return Err(Reason::TokenNotYetValid.into());
        }
        Ok(ends)
    }
}

/// The refusal of claims that do not belong to the issuer that they name: its word about a tenant counts for nothing.
#[must_use]
pub fn not_of_the_issuer(claims: &Claims, rules: Rules<'_>, fault: ClaimFault) -> Rejected {
    Rejected::from(fault).by(Whose { tenant: None, ..whose(claims, rules) })
}

/// Whose claims are that cannot be read as a whole: what can be read of it.
fn whose(claims: &Claims, rules: Rules<'_>) -> Whose {
    Whose {
        credential: rules.credential,
        subject: rules.mapping.subject.read(claims).ok(),
        // One for which the issuer may not vouch is its word alone.
        tenant: rules.mapping.tenant.read(claims).ok().filter(|tenant| rules.may_vouch_for(tenant)),
        issuer: Some(rules.issuer.clone()),
        key_id: None,
    }
}

fn is_there(claims: &Claims, required: &RequiredClaim) -> bool {
    if required.any_of.is_empty() {
        return claim(claims, &required.claim).is_some_and(|value| !value.is_null());
    }
    has_any(claims, &required.claim, &required.any_of)
}

/// A NumericDate (RFC 7519 §2), whole seconds; `None` when absent or null, as several providers write it.
///
/// # Errors
/// [`ClaimFault`] when it is something else.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value was checked to lie between 0 and 2^53"
)]
pub fn numeric_date(claims: &Claims, name: &str) -> Result<Option<u64>, ClaimFault> {
    const MAX: f64 = 9_007_199_254_740_992.0;
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match (value.as_u64(), value.as_f64()) {
            (Some(seconds), _) if seconds <= (1 << 53) => Ok(Some(seconds)),
            (None, Some(seconds)) if (0.0..=MAX).contains(&seconds) => Ok(Some(seconds as u64)),
            _ => Err(ClaimFault::of(name)),
        },
    }
}

/// The audiences (RFC 7519 §4.1.3): one text or a list of them. Where there is no `aud` at all, what the mapping says
/// stands for it; a null is no reason to look elsewhere.
fn audience<'a>(claims: &'a Claims, mapping: &ClaimMapping) -> Result<Vec<&'a str>, ClaimFault> {
    let value = match (claims.get("aud"), &mapping.audience) {
        (Some(value), _) => Found::Value(value),
        (None, Some(path)) => path.find(claims),
        (None, None) => Found::Absent,
    };
    let found: Option<Vec<&str>> = match value {
        Found::Absent => Some(Vec::new()),
        Found::Value(Value::String(one)) => Some(vec![one.as_str()]),
        Found::Value(Value::Array(members)) => members.iter().map(Value::as_str).collect(),
        Found::Value(_) | Found::Malformed => None,
    };
    let standing_in = mapping.audience.as_ref().filter(|_| !claims.contains_key("aud"));
    found.ok_or_else(|| standing_in.map_or_else(|| ClaimFault::of("aud"), ClaimFault::from))
}

/// Whom the claims speak for; when that ends is set once the times are judged.
fn principal(claims: &Claims, rules: Rules<'_>) -> Result<Principal, Rejected> {
    let mapping = rules.mapping;
    let client = match mapping.client(claims)? {
        Some((id, claim)) => Some(ClientId::new(id).map_err(|_| claim)?),
        None => None,
    };
    let tenant = mapping.tenant.read(claims).map_err(|none| match none {
        NoTenant::Claim(fault) => fault.into(),
        NoTenant::Unmapped => Rejected::from(Reason::TenantNotAllowed),
    })?;
    let (roles, scopes) = (mapping.roles.read(claims), mapping.scopes.read(claims));
    let elsewhere = roles.elsewhere
        || (rules.credential == CredentialKind::ServiceToken
            && claims.get(ROLES_INCOMPLETE) == Some(&true.into()));
    let mut omitted = roles.omitted.saturating_add(scopes.omitted);
    let token_id = id(claims, "jti", &mut omitted);
    let session_id = id(claims, "sid", &mut omitted);
    Ok(Principal {
        subject: mapping.subject.read(claims)?,
        tenant,
        omitted,
        roles_incomplete: elsewhere || roles.omitted > 0,
        roles: roles.taken.into(),
        scopes: scopes.taken.into(),
        credential: rules.credential,
        key_id: None,
        issuer: Some(rules.issuer.clone()),
        client_id: client,
        spiffe_id: None,
        actors: actors(claims)?,
        expires_at: 0,
        token_id,
        session_id,
        derived_from: derived_from(claims, rules.credential)?,
    })
}

/// An id by which a token can be revoked. A whole number is its digits. What no revocation can name is left out and
/// counted: a token ends by its subject, its client and its key as well, and its issuer is not ours to correct.
fn id(claims: &Claims, name: &str, omitted: &mut u32) -> Option<String> {
    let text = match claims.get(name) {
        None | Some(Value::Null) => return None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        Some(_) => None,
    };
    let id = text.filter(|id| is_revocable(id));
    *omitted = omitted.saturating_add(id.is_none().into());
    id
}

/// By what else a service token can be revoked. Only the control service's own word counts: of anybody else's
/// token the claim means something else, or nothing.
fn derived_from(claims: &Claims, credential: CredentialKind) -> Result<Vec<String>, ClaimFault> {
    let fault = || ClaimFault::of(DERIVED_FROM);
    let named = |name: &Value| name.as_str().filter(|name| name.len() <= MAX_NAME).map(str::to_owned);
    match claims.get(DERIVED_FROM).filter(|_| credential == CredentialKind::ServiceToken) {
        None => Ok(Vec::new()),
        Some(Value::Array(names)) if names.len() <= MAX_DERIVED_FROM => {
            names.iter().map(named).collect::<Option<_>>().ok_or_else(fault)
        }
        Some(_) => Err(fault()),
    }
}

/// The chain of actors (RFC 8693 §4.1), the current one first.
fn actors(claims: &Claims) -> Result<Vec<Subject>, ClaimFault> {
    let mut chain = Vec::new();
    let mut next = claims.get("act").filter(|act| !act.is_null());
    while let Some(act) = next {
        let subject = act.get("sub").and_then(Value::as_str).and_then(|s| Subject::new(s).ok());
        chain.push(subject.ok_or_else(|| ClaimFault::of("act"))?);
        if chain.len() > MAX_ACTORS {
            return Err(ClaimFault::of("act"));
        }
        next = act.get("act").filter(|act| !act.is_null());
    }
    Ok(chain)
}
