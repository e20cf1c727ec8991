//! Opaque access tokens, and what their provider says of them (RFC 7662).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_model::Reason;
use portcullis_model::claims::{Claims, other_use};
use portcullis_model::mapping::Found;
use portcullis_model::policy::{IntrospectionDocument, IssuerDocument, MAX_LEEWAY_SECONDS};
use portcullis_model::state::SnapshotState;
use portcullis_model::strict_json;
use serde_json::Value;

use crate::credential::Verified;
use crate::judge::{Read, Rules, numeric_date};
use crate::rejected::Rejected;

/// Whether a token is not a JWS. One that claims to be a JWS is judged as such and as nothing else: no
/// provider can make an identity token or an unsigned one good.
#[must_use]
pub fn is_opaque(token: &[u8]) -> bool {
    let mut parts = token.split(|b| *b == b'.');
    let header = parts.next().unwrap_or_default();
    let three = parts.count() == 2;
    let is_header = || URL_SAFE_NO_PAD.decode(header).is_ok_and(|h| strict_json::object(&h).is_some());
    !(three && is_header())
}

/// Judges what a provider said of an active token.
///
/// # Errors
/// The reason of the refusal.
pub fn judge(claims: &[u8], provider: &IntrospectionDocument, now_s: u64) -> Result<Verified, Rejected> {
    let claims = said(claims)?;
    match claims.get("iss") {
        None | Some(Value::Null) => {}
        Some(Value::String(issuer)) if issuer == provider.issuer.as_str() => {}
        Some(_) => return Err(Reason::IssuerUnknown.into()),
    }
    let principal = Read::new(&claims, Rules::of_provider(provider))?.judge(now_s)?;
    Ok(Verified { principal, claims, source_type: None, key: None })
}

/// The provider that is asked about a verified token; `None` where its issuer wants none to be.
///
/// # Errors
/// [`Reason::IntrospectionUnavailable`] when the snapshot has no such provider.
pub fn asked_about(
    verified: &Verified,
    snapshot: &SnapshotState,
) -> Result<Option<Arc<IntrospectionDocument>>, Reason> {
    let name = issuer(verified, snapshot)?.introspection.as_ref();
    let provider = |name: &String| snapshot.introspection(name).ok_or(Reason::IntrospectionUnavailable);
    name.map(provider).transpose().map(|found| found.cloned())
}

/// Takes from what a verified token grants all that its provider does not confirm. Nothing that a provider says adds
/// to it: the token says who it is, and the provider whether that still holds.
///
/// # Errors
/// The reason of the refusal.
pub fn narrow(
    mut verified: Verified,
    told: &[u8],
    snapshot: &SnapshotState,
    now_s: u64,
) -> Result<Verified, Rejected> {
    match take_away(&mut verified, told, snapshot, now_s) {
        Ok(()) => Ok(verified),
        Err(rejected) => Err(rejected.by((&verified.principal).into())),
    }
}

fn take_away(
    verified: &mut Verified,
    told: &[u8],
    snapshot: &SnapshotState,
    now_s: u64,
) -> Result<(), Rejected> {
    let told = said(told)?;
    let issuer = issuer(verified, snapshot)?;
    for name in ["iss", "sub"] {
        let (told, own) = (told.get(name).filter(|value| !value.is_null()), verified.claims.get(name));
        if told.is_some() && told != own {
            return Err(Reason::TokenInactive.into());
        }
    }
    if told.contains_key("cnf") {
        return Err(Reason::CredentialUnsupported.into());
    }
    let leeway_s = u64::from(issuer.leeway_seconds.min(MAX_LEEWAY_SECONDS));
    if let Some(exp) = numeric_date(&told, "exp")? {
        let ends = exp.saturating_add(leeway_s);
        if ends <= now_s {
            return Err(Reason::TokenExpired.into());
        }
        verified.principal.expires_at = verified.principal.expires_at.min(ends);
        // What is made from the token ends with both ends: the leeway lets a request in, and lengthens nothing.
        if numeric_date(&verified.claims, "exp")?.is_none_or(|own| exp < own) {
            verified.claims.insert("exp".to_owned(), exp.into());
        }
    }
    let mapping = &issuer.claims;
    let principal = &mut verified.principal;
    if told.contains_key("aud") && !names_audience(&told, issuer) {
        return Err(Reason::AudienceMismatch.into());
    }
    let says_tenant = mapping.tenant.claims().any(|claim| claim.find(&told) != Found::Absent);
    if says_tenant && mapping.tenant.read(&told).ok().as_ref() != Some(&principal.tenant) {
        return Err(Reason::TenantNotAllowed.into());
    }
    if mapping.roles.is_said(&told) {
        let confirmed = mapping.roles.read(&told).taken;
        principal.roles.retain(|role| confirmed.contains(role));
    }
    if mapping.scopes.is_said(&told) {
        let confirmed = mapping.scopes.read(&told).taken;
        principal.scopes.retain(|scope| confirmed.contains(scope));
    }
    Ok(())
}

fn issuer<'s>(verified: &Verified, snapshot: &'s SnapshotState) -> Result<&'s IssuerDocument, Reason> {
    let name = verified.principal.issuer.as_ref().ok_or(Reason::Internal)?;
    snapshot.issuer_of_name(name).map(|document| &**document).ok_or(Reason::IssuerUnknown)
}

fn names_audience(told: &Claims, issuer: &IssuerDocument) -> bool {
    let is_one =
        |value: &Value| value.as_str().is_some_and(|text| issuer.audiences.iter().any(|a| a == text));
    match told.get("aud") {
        Some(Value::Array(members)) => members.iter().any(is_one),
        Some(value) => is_one(value),
        None => false,
    }
}

/// What a provider said of a token that is active and for access: a provider may tell of refresh tokens as well
/// (RFC 7662 §2.1), and of tokens that are bound to a key (RFC 9449 §6.2), which nobody has proved here.
fn said(claims: &[u8]) -> Result<Claims, Reason> {
    let claims = strict_json::object(claims).ok_or(Reason::ClaimInvalid)?;
    if claims.get("active") != Some(&Value::Bool(true)) {
        return Err(Reason::TokenInactive);
    }
    // Some call an access token by that name (Ory Hydra).
    let is_access =
        |kind: &str| ["bearer", "access_token"].iter().any(|name| kind.eq_ignore_ascii_case(name));
    match claims.get("token_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if is_access(kind) => {}
        Some(_) => return Err(Reason::TokenInactive),
    }
    if other_use(&claims).is_some() { Err(Reason::TokenInactive) } else { Ok(claims) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tell(claims: Value) -> Result<Verified, Reason> {
        let provider = json!({"name": "p", "issuer": "https://as", "audiences": ["api"], "activeSeconds": 1,
            "inactiveSeconds": 1, "requiredClaims": [{"claim": ["kind"], "anyOf": ["a"]}]});
        let provider: IntrospectionDocument = serde_json::from_value(provider).unwrap();
        judge(claims.to_string().as_bytes(), &provider, 1_000).map_err(|rejected| rejected.reason)
    }

    fn good() -> Value {
        json!({"active": true, "sub": "ann", "tenant": "acme", "aud": "api", "kind": "a", "scope": "r w",
               "client_id": "cli", "exp": 1_100, "jti": "j", "sid": "s"})
    }

    #[test]
    fn what_has_three_parts_and_a_header_is_no_opaque_token() {
        let header = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}");
        assert!(!is_opaque(format!("{header}..").as_bytes()));
        assert!(!is_opaque(format!("{header}.a.b").as_bytes()));
        for token in ["opaque", "a.b.c", "..", "", &format!("{header}.a"), &format!("{header}.a.b.c.d")] {
            assert!(is_opaque(token.as_bytes()), "{token}");
        }
    }

    #[test]
    fn an_active_token_gives_its_principal() {
        let principal = tell(good()).unwrap().principal;
        assert_eq!((principal.subject.as_str(), principal.tenant.as_str()), ("ann", "acme"));
        assert_eq!(principal.issuer.unwrap().as_str(), "https://as");
        assert_eq!((principal.scopes.len(), principal.expires_at), (2, 1_130));
        let mut told = good();
        told["token_type"] = json!("Bearer");
        told["iss"] = json!("https://as");
        assert!(tell(told.clone()).is_ok());
        for kind in [json!("access_token"), json!("bearer"), json!(null)] {
            told["token_type"] = kind;
            told["token_use"] = json!("access_token");
            assert!(tell(told.clone()).is_ok(), "{told}");
        }
        let mut endless = good();
        endless.as_object_mut().unwrap().remove("exp");
        assert_eq!(tell(endless).unwrap().principal.expires_at, u64::MAX);
    }

    #[test]
    fn everything_else_is_refused() {
        for (name, value, reason) in [
            ("active", json!(false), Reason::TokenInactive),
            ("active", json!("true"), Reason::TokenInactive),
            ("active", json!(null), Reason::TokenInactive),
            ("aud", json!("other"), Reason::AudienceMismatch),
            ("aud", json!(null), Reason::ClaimInvalid),
            ("exp", json!(900), Reason::TokenExpired),
            ("nbf", json!(1_031), Reason::TokenNotYetValid),
            ("tenant", json!(null), Reason::ClaimInvalid),
            ("kind", json!("b"), Reason::ClaimInvalid),
            ("sub", json!(7), Reason::ClaimInvalid),
            ("token_type", json!("refresh_token"), Reason::TokenInactive),
            ("token_type", json!("DPoP"), Reason::TokenInactive),
            ("token_type", json!("id_token"), Reason::TokenInactive),
            ("token_type", json!(["Bearer"]), Reason::TokenInactive),
            ("token_use", json!("refresh_token"), Reason::TokenInactive),
            ("typ", json!("Refresh"), Reason::TokenInactive),
            ("iss", json!("https://as.evil"), Reason::IssuerUnknown),
            ("iss", json!(1), Reason::IssuerUnknown),
            ("cnf", json!({"jkt": "thumbprint"}), Reason::CredentialUnsupported),
        ] {
            let mut claims = good();
            claims[name] = value.clone();
            assert_eq!(tell(claims), Err(reason), "{name} = {value}");
        }
        let mut without = good();
        without.as_object_mut().unwrap().remove("aud");
        assert_eq!(tell(without), Err(Reason::AudienceMismatch));
        assert_eq!(tell(json!([])), Err(Reason::ClaimInvalid));
    }
}
