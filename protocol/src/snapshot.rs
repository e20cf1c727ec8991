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

use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::wire::{IntrospectionAnswer, Page, RecordKind, SNAPSHOT_FORMAT, SignedMessage};

/// Kinds of which every sidecar's view holds all entries: the keys of identity tokens, what sidecars tell callers of
/// their own mesh by, and what is revoked. Issuers are none of them: who comes with a token of one goes through a
/// gateway, and what its claims are mapped to names every customer.
pub const PUBLIC_KINDS: [RecordKind; 4] =
    [RecordKind::SourceRules, RecordKind::Workloads, RecordKind::IdentityKey, RecordKind::RevocationDigest];

/// Whether a view holds an entry: a gateway's, or that of the sidecars of `own` cluster. What a sidecar's view
/// does not name is for gateways alone, and so is a kind that nobody knows yet.
#[must_use]
pub fn view_holds(own: Option<&str>, kind: i32, key: &[u8]) -> bool {
    match (own, RecordKind::try_from(kind)) {
        // Gateways have the names.
        (None, kind) => kind != Ok(RecordKind::RevocationDigest),
        (Some(own), Ok(RecordKind::Cluster)) => key == own.as_bytes(),
        (Some(_), Ok(kind)) => PUBLIC_KINDS.contains(&kind),
        (Some(_), Err(_)) => false,
    }
}

/// The longest value of a record in bytes. Alone on a page, with its signature, it fits into an answer that filters
/// read; a longer one would stop every page behind it.
pub const MAX_VALUE: usize = 240 * 1024;

/// Prefixed to a page before it is signed, so that the key's signature means nothing elsewhere.
pub const PAGE_CONTEXT: &[u8] = b"portcullis snapshot page v1\0";

/// Prefixed to the answer of an introspection before it is signed.
pub const INTROSPECTION_CONTEXT: &[u8] = b"portcullis introspection v1\0";

/// Bytes of the nonce that a reader sends with each poll.
pub const NONCE_LEN: usize = 16;

/// Prefixed to what is revoked before it is hashed.
const REVOCATION_CONTEXT: &[u8] = b"portcullis revocation v1\0";

/// What sidecars know a revocation by: they may stand at a customer's, and other tenants' subjects, sessions
/// and clients are not to be read there.
#[must_use]
pub fn revocation_digest(name: &str) -> [u8; 32] {
    Sha256::new_with_prefix(REVOCATION_CONTEXT).chain_update(name).finalize().into()
}

/// Why a page was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not a protobuf message of the expected form.
    #[error("the snapshot page cannot be read: is the control service of the same major version?")]
    Malformed,
    /// The signature does not verify.
    #[error(
        "the snapshot page is not signed by the configured key: compare snapshot.key in pluginConfig with `portcullis snapshot-key`"
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

fn signed_text(context: &[u8], message: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(context.len().saturating_add(message.len()));
    text.extend_from_slice(context);
    text.extend_from_slice(message);
    text
}

fn sign(message: Vec<u8>, context: &[u8], seed: [u8; 32]) -> Vec<u8> {
    let signature = KeyPair::from_seed(Seed::new(seed)).sk.sign(signed_text(context, &message), None);
    SignedMessage { message, signature: signature.to_vec() }.encode_to_vec()
}

/// The message within, once its signature was verified.
fn open(bytes: &[u8], context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, PageError> {
    let signed = SignedMessage::decode(bytes).map_err(|_| PageError::Malformed)?;
    let signature = Signature::from_slice(&signed.signature).map_err(|_| PageError::Signature)?;
    let key = PublicKey::from_slice(key).map_err(|_| PageError::Signature)?;
    key.verify(signed_text(context, &signed.message), &signature).map_err(|_| PageError::Signature)?;
    Ok(signed.message)
}

/// The public half of a snapshot signing seed: what `snapshot.key` in `pluginConfig` holds.
#[must_use]
pub fn public_key(seed: [u8; 32]) -> [u8; 32] {
    *KeyPair::from_seed(Seed::new(seed)).pk
}

/// Signs a page with the control service's seed.
#[must_use]
pub fn sign_page(page: &Page, seed: [u8; 32]) -> Vec<u8> {
    sign(page.encode_to_vec(), PAGE_CONTEXT, seed)
}

/// Signs the answer to an introspection.
#[must_use]
pub fn sign_introspection(answer: &IntrospectionAnswer, seed: [u8; 32]) -> Vec<u8> {
    sign(answer.encode_to_vec(), INTROSPECTION_CONTEXT, seed)
}

/// Verifies the answer to an introspection against the service's public key and the nonce and provider of
/// the request.
///
/// # Errors
/// [`PageError`] with what did not hold; the token must be refused then.
pub fn verify_introspection(
    bytes: &[u8],
    key: &[u8; 32],
    nonce: &[u8],
    provider: &str,
) -> Result<IntrospectionAnswer, PageError> {
    let message = open(bytes, INTROSPECTION_CONTEXT, key)?;
    let answer = IntrospectionAnswer::decode(message.as_slice()).map_err(|_| PageError::Malformed)?;
    if answer.nonce != nonce || answer.provider != provider {
        return Err(PageError::Nonce);
    }
    Ok(answer)
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
    let message = open(bytes, PAGE_CONTEXT, key)?;
    let page = Page::decode(message.as_slice()).map_err(|_| PageError::Malformed)?;
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
    fn an_introspection_answer_is_good_for_its_request_only() {
        let answer =
            IntrospectionAnswer { nonce: vec![1; 16], provider: "p".into(), active: true, claims: vec![] };
        let signed = sign_introspection(&answer, SEED);
        let verify =
            |nonce: &[u8], provider| verify_introspection(&signed, &public_key(SEED), nonce, provider);
        assert_eq!(verify(&[1; 16], "p"), Ok(answer));
        assert_eq!(verify(&[2; 16], "p"), Err(PageError::Nonce));
        assert_eq!(verify(&[1; 16], "q"), Err(PageError::Nonce));
        assert_eq!(verify_page(&signed, &public_key(SEED), &[1; 16], ""), Err(PageError::Signature));
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
