//! One key for one algorithm, ready to verify.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jwt_simple::algorithms::{
    ECDSAP256PublicKeyLike, ECDSAP384PublicKeyLike, ES256PublicKey, ES384PublicKey, PS256PublicKey,
    PS384PublicKey, PS512PublicKey, RS256PublicKey, RS384PublicKey, RS512PublicKey, RSAPublicKeyLike,
};
use p521::ecdsa::signature::Verifier;
use portcullis_engine::cache::KeyDigest;
use portcullis_model::policy::{Algorithm, Jwk};
use portcullis_model::state::Secret;
use sha2::{Digest, Sha256};
use superboring::{pkey, sign};

use crate::der;
use crate::jwk::PublicKey;
use crate::shared_secret::SharedSecret;

/// Verification by the proxy or its target: BoringSSL in Envoy for Wasm, AWS-LC in the native module.
pub trait NativeVerify {
    /// Verifies `signature` (for ECDSA in DER) over `text` with a key in DER (SubjectPublicKeyInfo).
    /// `hash` is `sha256`, `sha384` or `sha512`. `None` when the host cannot.
    fn verify(&self, hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool>;
}

/// A host without native verification.
#[derive(Debug, Clone, Copy, Default)]
pub struct PureRust;

impl NativeVerify for PureRust {
    fn verify(&self, _hash: &str, _key: &[u8], _signature: &[u8], _text: &[u8]) -> Option<bool> {
        None
    }
}

/// The public key in the form that one algorithm needs.
enum Material {
    RS256(RS256PublicKey),
    RS384(RS384PublicKey),
    RS512(RS512PublicKey),
    PS256(PS256PublicKey),
    PS384(PS384PublicKey),
    PS512(PS512PublicKey),
    ES256(ES256PublicKey),
    ES384(ES384PublicKey),
    ES512(p521::ecdsa::VerifyingKey),
    EdDSA(ed25519_compact::PublicKey),
    Shared(SharedSecret),
}

impl Material {
    fn new(public: &PublicKey, algorithm: Algorithm) -> Option<Self> {
        use Algorithm as A;
        Some(match (public, algorithm) {
            (PublicKey::Rsa(n, e), A::RS256) => Self::RS256(RS256PublicKey::from_components(n, e).ok()?),
            (PublicKey::Rsa(n, e), A::RS384) => Self::RS384(RS384PublicKey::from_components(n, e).ok()?),
            (PublicKey::Rsa(n, e), A::RS512) => Self::RS512(RS512PublicKey::from_components(n, e).ok()?),
            (PublicKey::Rsa(n, e), A::PS256) => Self::PS256(PS256PublicKey::from_components(n, e).ok()?),
            (PublicKey::Rsa(n, e), A::PS384) => Self::PS384(PS384PublicKey::from_components(n, e).ok()?),
            (PublicKey::Rsa(n, e), A::PS512) => Self::PS512(PS512PublicKey::from_components(n, e).ok()?),
            (PublicKey::Ec(point), A::ES256) => Self::ES256(ES256PublicKey::from_bytes(point).ok()?),
            (PublicKey::Ec(point), A::ES384) => Self::ES384(ES384PublicKey::from_bytes(point).ok()?),
            (PublicKey::Ec(point), A::ES512) => {
                Self::ES512(p521::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?)
            }
            (PublicKey::Ed25519(x), A::EdDSA) => {
                let key = ed25519_compact::PublicKey::new(*x);
                key.validate().ok()?;
                Self::EdDSA(key)
            }
            _ => return None,
        })
    }

    /// The key in DER, for algorithms that hosts verify.
    fn spki(&self) -> Option<Vec<u8>> {
        match self {
            Self::RS256(key) => key.to_der().ok(),
            Self::RS384(key) => key.to_der().ok(),
            Self::RS512(key) => key.to_der().ok(),
            Self::ES256(key) => key.to_der().ok(),
            _ => None,
        }
    }
}

/// What a signature is over, and the signature.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Header and payload with the dot between them.
    pub text: &'a [u8],
    /// The signature, decoded.
    pub signature: &'a [u8],
}

/// One key for one algorithm.
pub struct VerifyingKey {
    pub(crate) kid: Option<String>,
    /// The issuer whose tokens it signs, where its set says so.
    pub(crate) issuer: Option<String>,
    pub(crate) algorithm: Algorithm,
    material: Material,
    pub(crate) spki: Option<Vec<u8>>,
    digest: KeyDigest,
    /// Which of its issuer's keys a token was good by last has the greatest number.
    pub(crate) good: AtomicU64,
}

impl VerifyingKey {
    /// A key of a set for one algorithm; `None` when its numbers are no key.
    pub(crate) fn new(jwk: &Jwk, public: &PublicKey, algorithm: Algorithm) -> Option<Self> {
        let material = Material::new(public, algorithm)?;
        let (kind, first, second) = public.parts();
        let digest = digest_of(&[kind.as_bytes(), first, second]);
        let spki = material.spki();
        let (kid, issuer) = (jwk.kid.clone(), jwk.issuer.clone());
        Some(Self { kid, issuer, algorithm, material, spki, digest, good: AtomicU64::new(0) })
    }

    /// A shared secret for one algorithm; `None` when it is too short for that.
    pub(crate) fn shared(secret: &Arc<Secret>, algorithm: Algorithm) -> Option<Self> {
        let material = Material::Shared(SharedSecret::new(secret, algorithm)?);
        let digest = digest_of(&[secret.bytes()]);
        let good = AtomicU64::new(0);
        Some(Self { kid: None, issuer: None, algorithm, material, spki: None, digest, good })
    }

    /// Whether the other key is this one by the same name, for the same issuer.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.algorithm, &self.kid, &self.issuer, self.digest)
            == (other.algorithm, &other.kid, &other.issuer, other.digest)
    }

    /// Tells this key from another one of the same name.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }

    /// The key's own id: what a revocation names, whether or not the token names it.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Verifies a token's signature: by the host where it can, else in Rust.
    #[must_use]
    pub fn verify(&self, signed: Signed<'_>, native: &dyn NativeVerify) -> bool {
        self.verify_natively(signed, native).unwrap_or_else(|| self.verify_in_rust(signed))
    }

    fn verify_natively(&self, signed: Signed<'_>, native: &dyn NativeVerify) -> Option<bool> {
        let spki = self.spki.as_deref()?;
        let Signed { text, signature } = signed;
        match self.algorithm {
            Algorithm::RS256 => native.verify("sha256", spki, signature, text),
            Algorithm::RS384 => native.verify("sha384", spki, signature, text),
            Algorithm::RS512 => native.verify("sha512", spki, signature, text),
            Algorithm::ES256 => match der::ecdsa_signature(signature, 32) {
                Some(signature) => native.verify("sha256", spki, &signature, text),
                None => Some(false),
            },
            _ => None,
        }
    }

    fn verify_in_rust(&self, Signed { text, signature }: Signed<'_>) -> bool {
        match &self.material {
            Material::RS256(key) => rsa_verifies(key, text, signature),
            Material::RS384(key) => rsa_verifies(key, text, signature),
            Material::RS512(key) => rsa_verifies(key, text, signature),
            Material::PS256(key) => rsa_verifies(key, text, signature),
            Material::PS384(key) => rsa_verifies(key, text, signature),
            Material::PS512(key) => rsa_verifies(key, text, signature),
            Material::ES256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.public_key().as_ref().verify(text, &signature).is_ok()),
            Material::ES384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.public_key().as_ref().verify(text, &signature).is_ok()),
            Material::ES512(key) => p521::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(text, &signature).is_ok()),
            Material::EdDSA(key) => ed25519_compact::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(text, &signature).is_ok()),
            Material::Shared(secret) => secret.verify(text, signature),
        }
    }
}

/// Verifies with jwt-simple's key by what lies beneath it: its own `verify_token` reads the header and the claims
/// once more, by rules that no other way of verification has.
fn rsa_verifies<K: RSAPublicKeyLike>(key: &K, text: &[u8], signature: &[u8]) -> bool {
    let verify = || {
        let public = pkey::PKey::from_rsa(key.public_key().as_ref().clone()).ok()?;
        let mut verifier = sign::Verifier::new(K::hash(), &public).ok()?;
        verifier.set_rsa_padding(key.padding_scheme()).ok()?;
        verifier.update(text).ok()?;
        verifier.verify(signature).ok()
    };
    verify() == Some(true)
}

/// Half of a SHA-256 of what makes a key, each part with its length before it.
fn digest_of(parts: &[&[u8]]) -> KeyDigest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let whole: [u8; 32] = hash.finalize().into();
    whole.first_chunk().copied().unwrap_or_default()
}
