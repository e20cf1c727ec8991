//! Judging a credential with the filters' own code, over what the filters hold.

use portcullis_authn::keys::PureRust;
use portcullis_authn::{KeyRing, Verified, is_revoked, jwt};
use portcullis_core::Reason;
use portcullis_core::snapshot::state::SnapshotState;
use portcullis_core::snapshot::{PageError, public_key, sign_page, verify_page};
use portcullis_core::wire::Page;

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

/// Verifies a JSON Web Token and that nothing of it is revoked.
///
/// # Errors
/// The reason for which a gateway would refuse it.
pub fn token(token: &str, snapshot: &SnapshotState, now_s: u64) -> Result<Verified, Reason> {
    let verified = jwt::verify(token.as_bytes(), snapshot, &mut KeyRing::default(), &PureRust, now_s)?;
    if is_revoked(&verified.principal, snapshot) {
        return Err(Reason::CredentialRevoked);
    }
    Ok(verified)
}
