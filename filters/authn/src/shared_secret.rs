//! HMAC signatures (RFC 7518 §3.2): for issuers that share a secret with the operator.
//!
//! Whoever can verify such a token can also make one. So an issuer has either a secret or public keys,
//! never both: a public key can then never be taken for a secret.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use portcullis_model::policy::Algorithm;
use portcullis_model::state::Secret;
use sha2::{Sha256, Sha384, Sha512};

/// Whether an algorithm signs with a shared secret.
#[must_use]
pub fn is_shared(algorithm: Algorithm) -> bool {
    shortest(algorithm).is_some()
}

/// The shortest secret of an algorithm in bytes: as long as its hash (RFC 7518 §3.2). `None` for an
/// algorithm with public keys.
fn shortest(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

/// A secret for one algorithm.
pub struct SharedSecret {
    secret: Arc<Secret>,
    algorithm: Algorithm,
}

impl SharedSecret {
    /// Takes a secret, unless it is too short for the algorithm.
    #[must_use]
    pub fn new(secret: &Arc<Secret>, algorithm: Algorithm) -> Option<Self> {
        let long_enough = secret.bytes().len() >= shortest(algorithm)?;
        long_enough.then(|| Self { secret: Arc::clone(secret), algorithm })
    }

    /// Verifies a signature, in a time that does not depend on where it differs.
    #[must_use]
    pub fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        let secret = self.secret.bytes();
        match self.algorithm {
            Algorithm::HS256 => fits(Hmac::<Sha256>::new_from_slice(secret).ok(), signed, signature),
            Algorithm::HS384 => fits(Hmac::<Sha384>::new_from_slice(secret).ok(), signed, signature),
            Algorithm::HS512 => fits(Hmac::<Sha512>::new_from_slice(secret).ok(), signed, signature),
            _ => false,
        }
    }
}

fn fits(mac: Option<impl Mac>, signed: &[u8], signature: &[u8]) -> bool {
    mac.is_some_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
}
