//! What claims say and whether that will do: the same for a token's claims and for an introspection's
//! answer.
//!
//! Reading and judging are two steps, because a token is read before its signature is verified and judged
//! afterwards.

use portcullis_identity::ids::{ClientId, IssuerId, Role, Scope, Subject, TenantId};
use portcullis_identity::{CredentialKind, MAX_ACTORS, Principal};
use portcullis_model::Reason;
use portcullis_model::claims::{
    Claims, DERIVED_FROM, MAX_DERIVED_FROM, ROLES_INCOMPLETE, claim, has_any, is_revocable,
};
use portcullis_model::policy::{
    ClaimMapping, IntrospectionDocument, IssuerDocument, MAX_LEEWAY_SECONDS, RequiredClaim,
};
use serde_json::Value;

/// Roles or scopes of one token that are taken; more are left out.
const MAX_NAMES: usize = 64;

/// The longest name of a revocation, in bytes.
const MAX_NAME: usize = 264;

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
    /// The rules of an issuer of tokens.
    ///
    /// # Errors
    /// [`Reason::CredentialUnsupported`] when the policy calls its tokens something that a token cannot be.
    pub fn of_issuer(document: &'a IssuerDocument) -> Result<Self, Reason> {
        if !matches!(document.credential, CredentialKind::Jwt | CredentialKind::ServiceToken) {
            return Err(Reason::CredentialUnsupported);
        }
        Ok(Self {
            issuer: &document.issuer,
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
    /// [`Reason::ClaimInvalid`] when one that is needed is missing, or one is of the wrong form;
    /// [`Reason::CredentialUnsupported`] for a token that is bound to a key of its holder (RFC 7800, RFC 8705,
    /// RFC 9449): who has stolen it must not get by as if it were a plain bearer token.
    pub fn new(claims: &'a Claims, rules: Rules<'a>) -> Result<Self, Reason> {
        if claims.contains_key("cnf") {
            return Err(Reason::CredentialUnsupported);
        }
        let exp = numeric_date(claims, "exp")?;
        if exp.is_none() && rules.needs_end {
            return Err(Reason::ClaimInvalid);
        }
        Ok(Self {
            claims,
            rules,
            principal: principal(claims, rules)?,
            audience: audience(claims)?,
            exp,
            nbf: numeric_date(claims, "nbf")?,
            iat: numeric_date(claims, "iat")?,
        })
    }

    /// Judges times, audience and required claims, and gives the principal, which ends with the claims.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn judge(self, now_s: u64) -> Result<Principal, Reason> {
        let ends = self.ends(now_s)?;
        let rules = self.rules;
        if !self.audience.iter().any(|a| rules.audiences.iter().any(|d| d == a)) {
            return Err(Reason::AudienceMismatch);
        }
        if !rules.tenants.is_empty() && !rules.tenants.contains(&self.principal.tenant) {
            return Err(Reason::TenantNotAllowed);
        }
        if !rules.required.iter().all(|required| is_there(self.claims, required)) {
            return Err(Reason::ClaimInvalid);
        }
        Ok(Principal { expires_at: ends, ..self.principal })
    }

    fn ends(&self, now_s: u64) -> Result<u64, Reason> {
        let leeway = self.rules.leeway_s;
        let mut ends = self.exp.map_or(u64::MAX, |exp| exp.saturating_add(leeway));
        if self.rules.max_age_s > 0 {
            let issued = self.iat.ok_or(Reason::ClaimInvalid)?;
            ends = ends.min(issued.saturating_add(self.rules.max_age_s).saturating_add(leeway));
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

fn is_there(claims: &Claims, required: &RequiredClaim) -> bool {
    if required.any_of.is_empty() {
        return claim(claims, &required.claim).is_some_and(|value| !value.is_null());
    }
    has_any(claims, &required.claim, &required.any_of)
}

/// A NumericDate (RFC 7519 §2), whole seconds; `None` when absent or null, as several providers write it.
///
/// # Errors
/// [`Reason::ClaimInvalid`] when it is something else.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value was checked to lie between 0 and 2^53"
)]
pub fn numeric_date(claims: &Claims, name: &str) -> Result<Option<u64>, Reason> {
    const MAX: f64 = 9_007_199_254_740_992.0;
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match (value.as_u64(), value.as_f64()) {
            (Some(seconds), _) if seconds <= (1 << 53) => Ok(Some(seconds)),
            (None, Some(seconds)) if (0.0..=MAX).contains(&seconds) => Ok(Some(seconds as u64)),
            _ => Err(Reason::ClaimInvalid),
        },
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

/// Whom the claims speak for; when that ends is set once the times are judged.
fn principal(claims: &Claims, rules: Rules<'_>) -> Result<Principal, Reason> {
    let invalid = Reason::ClaimInvalid;
    let mapping = rules.mapping;
    let text = |path: &[String]| claim(claims, path).and_then(Value::as_str);
    let client = match client_id(claims, mapping)? {
        Some(id) => Some(ClientId::new(id).map_err(|_| invalid)?),
        None => None,
    };
    let roles = Names::read(claim(claims, &mapping.roles), Role::new);
    let scopes = Names::read(claim(claims, &mapping.scopes), Scope::new);
    let elsewhere = are_elsewhere(claims, &mapping.roles)
        || (rules.credential == CredentialKind::ServiceToken
            && claims.get(ROLES_INCOMPLETE) == Some(&true.into()));
    Ok(Principal {
        subject: text(&mapping.subject).and_then(|s| Subject::new(s).ok()).ok_or(invalid)?,
        tenant: text(&mapping.tenant).and_then(|t| TenantId::new(t).ok()).ok_or(invalid)?,
        omitted: roles.omitted.saturating_add(scopes.omitted),
        roles_incomplete: elsewhere || roles.omitted > 0,
        roles: roles.taken,
        scopes: scopes.taken,
        credential: rules.credential,
        key_id: None,
        issuer: Some(rules.issuer.clone()),
        client_id: client,
        spiffe_id: None,
        actors: actors(claims)?,
        expires_at: 0,
        token_id: id(claims, "jti")?,
        session_id: id(claims, "sid")?,
        derived_from: derived_from(claims, rules.credential)?,
    })
}

/// The client by its claim, or where there is none by `azp`. One of the wrong form is refused: it must not
/// slip to the other claim, nor to a rule for tokens without a client.
fn client_id<'a>(claims: &'a Claims, mapping: &ClaimMapping) -> Result<Option<&'a str>, Reason> {
    let found = [claim(claims, &mapping.client_id), claims.get("azp")];
    match found.into_iter().flatten().find(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(Reason::ClaimInvalid),
    }
}

/// An id by which something can be revoked; one that no revocation can name is refused.
fn id(claims: &Claims, name: &str) -> Result<Option<String>, Reason> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if is_revocable(id) => Ok(Some(id.clone())),
        Some(_) => Err(Reason::ClaimInvalid),
    }
}

/// By what else a service token can be revoked. Only the control service's own word counts: of anybody else's
/// token the claim means something else, or nothing.
fn derived_from(claims: &Claims, credential: CredentialKind) -> Result<Vec<String>, Reason> {
    let named = |name: &Value| name.as_str().filter(|name| name.len() <= MAX_NAME).map(str::to_owned);
    match claims.get(DERIVED_FROM).filter(|_| credential == CredentialKind::ServiceToken) {
        None => Ok(Vec::new()),
        Some(Value::Array(names)) if names.len() <= MAX_DERIVED_FROM => {
            names.iter().map(named).collect::<Option<_>>().ok_or(Reason::ClaimInvalid)
        }
        Some(_) => Err(Reason::ClaimInvalid),
    }
}

/// Names that a claim grants: a list of them, or one text of names separated by spaces.
///
/// A type's own limits must not refuse what other people's providers write: what is no name here, and what is
/// more than is taken, grants nothing and is counted.
struct Names<T> {
    taken: Vec<T>,
    omitted: u32,
}

impl<T: PartialEq> Names<T> {
    fn read<E>(value: Option<&Value>, parse: impl Fn(&str) -> Result<T, E>) -> Self {
        let mut names = Self { taken: Vec::new(), omitted: 0 };
        match value {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                text.split(' ').filter(|name| !name.is_empty()).for_each(|name| names.take(parse(name).ok()));
            }
            Some(Value::Array(members)) => {
                let name = |member: &Value| member.as_str().and_then(|name| parse(name).ok());
                members.iter().for_each(|member| names.take(name(member)));
            }
            Some(_) => names.take(None),
        }
        names
    }

    fn take(&mut self, name: Option<T>) {
        match name {
            Some(name) if self.taken.contains(&name) => {}
            Some(name) if self.taken.len() < MAX_NAMES => self.taken.push(name),
            _ => self.omitted = self.omitted.saturating_add(1),
        }
    }
}

/// Whether the provider says that it left roles out of the token itself: Entra ID does so where there are too
/// many groups.
fn are_elsewhere(claims: &Claims, path: &[String]) -> bool {
    let named = |name: &String| {
        let sources = claims.get("_claim_names").and_then(Value::as_object);
        sources.is_some_and(|sources| sources.contains_key(name))
    };
    let has_groups = || claims.get("hasgroups").is_some_and(|value| *value == true || *value == "true");
    path.first().is_some_and(|name| named(name) || (name == "groups" && has_groups()))
}

/// The chain of actors (RFC 8693 §4.1), the current one first.
fn actors(claims: &Claims) -> Result<Vec<Subject>, Reason> {
    let mut chain = Vec::new();
    let mut next = claims.get("act").filter(|act| !act.is_null());
    while let Some(act) = next {
        let subject = act.get("sub").and_then(Value::as_str).and_then(|s| Subject::new(s).ok());
        chain.push(subject.ok_or(Reason::ClaimInvalid)?);
        if chain.len() > MAX_ACTORS {
            return Err(Reason::ClaimInvalid);
        }
        next = act.get("act").filter(|act| !act.is_null());
    }
    Ok(chain)
}
