//! Judging a credential with the filters' own code, over what the filters hold.

use portcullis_authn::judge::numeric_date;
use portcullis_authn::{KeyRing, PureRust, Rejected, Verified, introspection, is_revoked, jwt};
use portcullis_identity::Principal;
use portcullis_model::Reason;
use portcullis_model::claims::Claims;
use portcullis_model::state::SnapshotState;
use portcullis_protocol::snapshot::{PageError, public_key, sign_page, verify_page};
use portcullis_protocol::wire::Page;
use portcullis_source_type::classify;

/// Opens a page as a filter does. Signed and verified on the spot, because nothing but a verified page can
/// become a snapshot.
///
/// # Errors
/// [`PageError`] when the page cannot be a gateway's.
pub fn open(page: &Page, seed: [u8; 32]) -> Result<SnapshotState, PageError> {
    let verified = verify_page(&sign_page(page, seed), &public_key(seed), &page.nonce, &page.view)?;
    let mut state = SnapshotState::default();
    let applied = state.apply(verified)?;
    for problem in applied.unreadable {
        tracing::warn!(problem, "an entry of the snapshot cannot be read");
    }
    Ok(state)
}

/// Why a token is not judged.
#[derive(Debug, Clone, PartialEq)]
pub enum Unjudged {
    /// A gateway would refuse it.
    Refused(Rejected),
    /// It is verified, and the provider of this name has to be asked about it before it counts.
    Asks(String),
}

impl From<Reason> for Unjudged {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<Rejected> for Unjudged {
    fn from(why: Rejected) -> Self {
        Self::Refused(why)
    }
}

/// Verifies a token for which another one is to be given out. What a gateway would refuse for want of a source
/// rule must not become a token that has one, and the new token must not outlive the old one's own end: the
/// leeway of `expires_at` is for clocks that differ, not for a longer life. `told`: what a provider said of it.
///
/// # Errors
/// The reason for which a gateway would refuse it, or whom it would ask.
pub fn subject_token(
    text: &str,
    snapshot: &SnapshotState,
    now_s: u64,
    told: Option<&[u8]>,
) -> Result<Principal, Unjudged> {
    let Verified { mut principal, claims, source_type, .. } = token(text, snapshot, now_s, told)?;
    if source_type.is_none() && classify(snapshot.source_rules(), &principal, &claims).is_none() {
        return Err(Reason::SourceTypeUnknown.into());
    }
    let end = own_end(&claims, &principal, snapshot)?;
    principal.expires_at = principal.expires_at.min(end);
    if principal.expires_at <= now_s { Err(Reason::TokenExpired.into()) } else { Ok(principal) }
}

/// When a token ends by itself and by its issuer's `maxAgeSeconds`, without leeway.
fn own_end(claims: &Claims, principal: &Principal, snapshot: &SnapshotState) -> Result<u64, Rejected> {
    let end = numeric_date(claims, "exp")?.unwrap_or(u64::MAX);
    let issuer = principal.issuer.as_ref().and_then(|name| snapshot.issuer_of_name(name));
    let max_age_s = issuer.map(|document| u64::from(document.max_age_seconds)).filter(|max| *max > 0);
    let aged = numeric_date(claims, "iat")?.zip(max_age_s).map(|(iat, max)| iat.saturating_add(max));
    Ok(aged.map_or(end, |aged| aged.min(end)))
}

/// Verifies a JSON Web Token and that nothing of it is revoked. `told`: what a provider said of it.
///
/// # Errors
/// The reason for which a gateway would refuse it, or whom it would ask.
pub fn token(
    token: &str,
    snapshot: &SnapshotState,
    now_s: u64,
    told: Option<&[u8]>,
) -> Result<Verified, Unjudged> {
    let verified = verified(token, snapshot, now_s, told)?;
    if is_revoked(&verified.principal, snapshot) {
        return Err(Rejected::of(Reason::CredentialRevoked, &verified.principal).into());
    }
    Ok(verified)
}

/// Verifies a JSON Web Token, whether or not something of it is revoked.
///
/// # Errors
/// As [`token`].
pub fn verified(
    token: &str,
    snapshot: &SnapshotState,
    now_s: u64,
    told: Option<&[u8]>,
) -> Result<Verified, Unjudged> {
    let verified = jwt::verify(token.as_bytes(), snapshot, &KeyRing::default(), &PureRust, now_s)?;
    match (introspection::asked_about(&verified, snapshot)?, told) {
        (None, _) => Ok(verified),
        (Some(provider), None) => Err(Unjudged::Asks(provider.name.clone())),
        (Some(_), Some(told)) => Ok(introspection::narrow(verified, told, snapshot, now_s)?),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    use portcullis_mesh_stand_in::fixtures::{first_page, put};
    use portcullis_protocol::wire::RecordKind;
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// When what is exchanged for a token of 900 s that is 100 s old ends, in seconds from now.
    fn lives(max_age_s: u64, told: &Value) -> Result<u64, Reason> {
        let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([9; 32]));
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": B64.encode(*pair.pk)});
        let issuer = json!({"issuer": "https://idp", "audiences": ["p"], "algorithms": ["EdDSA"],
            "leewaySeconds": 300, "maxAgeSeconds": max_age_s, "introspection": "as", "jwks": {"keys": [key]}});
        let provider = json!({"name": "as", "issuer": "https://as", "audiences": ["p"], "activeSeconds": 5,
            "inactiveSeconds": 5});
        let rules = json!({"rules": [{"name": "all", "sourceType": "human"}]});
        let page = first_page(vec![
            put(RecordKind::Issuer, b"https://idp", issuer.to_string()),
            put(RecordKind::Introspection, b"as", provider.to_string()),
            put(RecordKind::SourceRules, b"", rules.to_string()),
        ]);
        let snapshot = open(&page, [1; 32]).unwrap();
        let claims = json!({"iss": "https://idp", "sub": "ann", "tenant": "acme", "aud": "p",
            "exp": NOW + 900, "iat": NOW - 100});
        let header = json!({"alg": "EdDSA", "kid": "k"});
        let text = [header, claims].map(|part| B64.encode(part.to_string())).join(".");
        let token = [text.as_str(), ".", &B64.encode(*pair.sk.sign(text.as_bytes(), None))].concat();
        match subject_token(&token, &snapshot, NOW, Some(told.to_string().as_bytes())) {
            Ok(principal) => Ok(principal.expires_at - NOW),
            Err(Unjudged::Refused(why)) => Err(why.reason),
            Err(Unjudged::Asks(name)) => panic!("asks {name}"),
        }
    }

    #[test]
    fn what_is_exchanged_ends_with_every_end_and_without_leeway() {
        let told = |exp: u64| json!({"active": true, "exp": exp});
        assert_eq!(lives(0, &json!({"active": true})), Ok(900));
        assert_eq!(lives(0, &told(NOW + 10)), Ok(10), "the provider's end");
        assert_eq!(lives(0, &told(NOW + 2_000)), Ok(900), "its own");
        for past in [NOW - 100, NOW] {
            assert_eq!(
                lives(0, &told(past)),
                Err(Reason::TokenExpired),
                "{past}: the leeway makes no new one"
            );
        }
        assert_eq!(lives(160, &told(NOW + 100)), Ok(60), "the greatest age");
        assert_eq!(lives(100, &told(NOW + 100)), Err(Reason::TokenExpired));
    }
}
