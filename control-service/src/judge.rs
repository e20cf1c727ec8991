//! Judging a credential with the filters' own code, over what the filters hold.

use portcullis_authn::judge::numeric_date;
use portcullis_authn::keys::PureRust;
use portcullis_authn::{KeyRing, Rejected, Verified, introspection, is_revoked, jwt};
use portcullis_identity::Principal;
use portcullis_model::Reason;
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
    let end = numeric_date(&claims, "exp").map_err(Rejected::from)?.unwrap_or(u64::MAX);
    principal.expires_at = principal.expires_at.min(end);
    if principal.expires_at <= now_s { Err(Reason::TokenExpired.into()) } else { Ok(principal) }
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
