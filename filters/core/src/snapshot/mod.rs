//! The snapshot: everything that a filter decides by, delivered in signed pages.
//!
//! A reader polls with what it has (`generation`, `revision`, `cursor`) and a fresh nonce. The service
//! answers with a [`Page`]:
//! * **delta**: the changes after the reader's revision, in order;
//! * **full resync**, when the reader is new or too far behind: entries in the order of their keys, page
//!   by page, as they are at that moment; the revision pinned is that of the first page, and the delta
//!   that follows brings everything that changed meanwhile. The reader marks what it had as old, and
//!   sweeps what no page touched. Nothing is held twice, so a resync needs no second copy in memory.
//!
//! A page is small, so one page is one slice of work on a worker.

pub mod policy;
pub mod state;

use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use prost::Message;

use crate::wire::{Page, SNAPSHOT_FORMAT, SignedPage};

/// Prefixed to a page before it is signed, so that the key's signature means nothing elsewhere.
pub const PAGE_CONTEXT: &[u8] = b"portcullis snapshot page v1\0";

/// Bytes of the nonce that a reader sends with each poll.
pub const NONCE_LEN: usize = 16;

/// Why a page was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not a protobuf message of the expected form.
    #[error("the snapshot page cannot be read: is the control service of the same major version?")]
    Malformed,
    /// The signature does not verify.
    #[error(
        "the snapshot page is not signed by the configured key: compare snapshotKey in pluginConfig with `portcullis snapshot-key`"
    )]
    Signature,
    /// The page answers another request.
    #[error("the snapshot page answers another request")]
    Nonce,
    /// The page is of another view.
    #[error("the snapshot page is of another view than the one asked for")]
    View,
    /// The page is of a format that this filter does not read.
    #[error("the snapshot page has format {0}, this filter reads {SNAPSHOT_FORMAT}: update the filter")]
    Format(u32),
    /// The revision goes back within a generation.
    #[error("the snapshot page goes back from revision {from} to {to}")]
    Backwards {
        /// What the reader has.
        from: u64,
        /// What the page says.
        to: u64,
    },
}

/// A page whose signature, nonce and view were checked. Only [`verify_page`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedPage(Page);

impl VerifiedPage {
    /// The page.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.0
    }

    /// Takes the page out.
    #[must_use]
    pub fn into_page(self) -> Page {
        self.0
    }
}

fn message(page: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(PAGE_CONTEXT.len().saturating_add(page.len()));
    text.extend_from_slice(PAGE_CONTEXT);
    text.extend_from_slice(page);
    text
}

/// The public half of a snapshot signing seed: what `snapshotKey` in `pluginConfig` holds.
#[must_use]
pub fn public_key(seed: [u8; 32]) -> [u8; 32] {
    *KeyPair::from_seed(Seed::new(seed)).pk
}

/// Signs a page with the control service's seed.
#[must_use]
pub fn sign_page(page: &Page, seed: [u8; 32]) -> Vec<u8> {
    let encoded = page.encode_to_vec();
    let signature = KeyPair::from_seed(Seed::new(seed)).sk.sign(message(&encoded), None);
    SignedPage { page: encoded, signature: signature.to_vec() }.encode_to_vec()
}

/// Verifies a page against the service's public key, the nonce of the request and the view asked for.
///
/// # Errors
/// [`PageError`] with what did not hold; nothing of the page may be used then.
pub fn verify_page(
    bytes: &[u8],
    key: &[u8; 32],
    nonce: &[u8],
    view: &str,
) -> Result<VerifiedPage, PageError> {
    let signed = SignedPage::decode(bytes).map_err(|_| PageError::Malformed)?;
    let signature = Signature::from_slice(&signed.signature).map_err(|_| PageError::Signature)?;
    let key = PublicKey::from_slice(key).map_err(|_| PageError::Signature)?;
    key.verify(message(&signed.page), &signature).map_err(|_| PageError::Signature)?;
    let page = Page::decode(signed.page.as_slice()).map_err(|_| PageError::Malformed)?;
    if page.format != SNAPSHOT_FORMAT {
        return Err(PageError::Format(page.format));
    }
    if page.nonce != nonce {
        return Err(PageError::Nonce);
    }
    if page.view != view {
        return Err(PageError::View);
    }
    Ok(VerifiedPage(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [7; 32];

    fn page() -> Page {
        Page {
            format: SNAPSHOT_FORMAT,
            nonce: vec![1; 16],
            view: "gateway".into(),
            revision: 3,
            ..Page::default()
        }
    }

    fn verify(bytes: &[u8]) -> Result<VerifiedPage, PageError> {
        verify_page(bytes, &public_key(SEED), &[1; 16], "gateway")
    }

    #[test]
    fn a_signed_page_verifies() {
        assert_eq!(verify(&sign_page(&page(), SEED)).unwrap().page().revision, 3);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let signed = sign_page(&page(), SEED);
        for at in 0..signed.len() {
            let mut bent = signed.clone();
            bent[at] ^= 1;
            assert!(verify(&bent).is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_key_nonce_view_or_format_is_refused() {
        let signed = sign_page(&page(), SEED);
        assert_eq!(verify(&sign_page(&page(), [8; 32])), Err(PageError::Signature));
        assert_eq!(verify_page(&signed, &public_key(SEED), &[2; 16], "gateway"), Err(PageError::Nonce));
        assert_eq!(verify_page(&signed, &public_key(SEED), &[1; 16], "public"), Err(PageError::View));
        assert_eq!(verify(&sign_page(&Page { format: 2, ..page() }, SEED)), Err(PageError::Format(2)));
        assert_eq!(verify(b"\xff\xff"), Err(PageError::Malformed));
    }
}
