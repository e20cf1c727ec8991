//! AES-256-GCM, each text under a nonce of its own.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use portcullis_control_domain::random::random;
use zeroize::Zeroizing;

pub(super) fn binding(what: &str, name: &str) -> Vec<u8> {
    ["portcullis sealed ", what, " v1\0", name].concat().into_bytes()
}

const NONCE: usize = 12;

/// Encrypts a text under a nonce of its own, which is written in front of it.
pub(crate) fn encrypt(key: &[u8; 32], aad: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let nonce = random::<NONCE>();
    let cipher = Aes256Gcm::new(&(*key).into());
    let mut out = nonce.to_vec();
    out.extend(cipher.encrypt(&Nonce::from(nonce), Payload { msg: text, aad }).ok()?);
    Some(out)
}

/// Opens what [`encrypt`] made.
pub(crate) fn decrypt(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE>()?;
    let cipher = Aes256Gcm::new(&(*key).into());
    cipher.decrypt(&Nonce::from(*nonce), Payload { msg: text, aad }).ok().map(Zeroizing::new)
}
