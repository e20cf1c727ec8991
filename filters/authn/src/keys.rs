//! Verification keys, prepared once from an issuer's JWKS.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jwt_simple::algorithms::{
    ECDSAP256PublicKeyLike, ECDSAP384PublicKeyLike, ES256PublicKey, ES384PublicKey, PS256PublicKey,
    PS384PublicKey, PS512PublicKey, RS256PublicKey, RS384PublicKey, RS512PublicKey, RSAPublicKeyLike,
};
use p521::ecdsa::signature::Verifier;
use portcullis_engine::cache::KeyDigest;
use portcullis_engine::guarded::{Guarded, Rebuild};
use portcullis_identity::ids::IssuerId;
use portcullis_model::Reason;
use portcullis_model::pace::TokenBucket;
use portcullis_model::policy::{Algorithm, IssuerDocument, Jwk};
use portcullis_model::state::{Secret, SnapshotState};
use portcullis_model::template::key_is_of;
use sha2::{Digest, Sha256};
use superboring::{pkey, sign};

use crate::der;
use crate::jwk::{KeySet, PublicKey};
use crate::shared_secret::{SharedSecret, is_shared};

/// Keys that are tried for one token: by a proxy that verifies by itself, and in Rust, which takes longer.
pub const MAX_TRIES: (usize, usize) = (4, 2);

/// Tries beyond the first for one token that may be in vain: so many at once of one issuer, and how long it takes until
/// there is one more, in milliseconds. Anybody can send a token that names no key and that nobody signed. One that is
/// good gives its tries back.
const VAIN_TRIES: (Pace, Pace) = (Pace { burst: 250, every_ms: 4 }, Pace { burst: 25, every_ms: 40 });

struct Pace {
    burst: u32,
    every_ms: u64,
}

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
    kid: Option<String>,
    /// The issuer whose tokens it signs, where its set says so.
    issuer: Option<String>,
    algorithm: Algorithm,
    material: Material,
    spki: Option<Vec<u8>>,
    digest: KeyDigest,
    /// Which of its issuer's keys a token was good by last has the greatest number.
    good: AtomicU64,
}

/// What an issuer's JWKS gives for each algorithm that the issuer is allowed.
pub struct IssuerKeys {
    keys: Vec<VerifyingKey>,
    good: AtomicU64,
    /// Tries that may be in vain: by the proxy, and in Rust.
    vain: (Mutex<TokenBucket>, Mutex<TokenBucket>),
}

impl IssuerKeys {
    /// Prepares the keys of an issuer, those of its set that can be used; an issuer that mixes shared secrets with
    /// public keys has none.
    #[must_use]
    pub fn prepare(document: &IssuerDocument, secret: Option<&Arc<Secret>>) -> Self {
        let shared = document.algorithms.iter().filter(|alg| is_shared(**alg)).count();
        if shared == 0 {
            return Self::of(KeySet::read(&document.jwks, &document.algorithms, document.jwt_svid).keys);
        }
        if shared < document.algorithms.len() {
            return Self::of(Vec::new());
        }
        let keys = document.algorithms.iter().filter_map(|algorithm| {
            let secret = secret?;
            let material = Material::Shared(SharedSecret::new(secret, *algorithm)?);
            let digest = digest_of(&[secret.bytes()]);
            Some(VerifyingKey {
                kid: None,
                issuer: None,
                algorithm: *algorithm,
                material,
                spki: None,
                digest,
                good: AtomicU64::new(0),
            })
        });
        Self::of(keys.collect())
    }

    fn of(keys: Vec<VerifyingKey>) -> Self {
        let bucket = |pace: &Pace| Mutex::new(TokenBucket::new(pace.burst, pace.every_ms));
        Self { keys, good: AtomicU64::new(0), vain: (bucket(&VAIN_TRIES.0), bucket(&VAIN_TRIES.1)) }
    }

    /// The key that signed a token, of those that fit. The one by which a token was good last comes first: so the
    /// tokens of an issuer with one key in use cost one try each, whatever others send. `now_s`: each try is a
    /// verification, and of those in vain there are so many a second; none where they cost nothing.
    ///
    /// # Errors
    /// [`Reason::KeyUnknown`] when none fits, [`Reason::SignatureInvalid`] when none did, [`Reason::VerificationBusy`]
    /// when not all could be tried.
    pub fn signer<'k>(
        &'k self,
        fitting: impl Iterator<Item = &'k VerifyingKey>,
        now_s: Option<u64>,
        is_signed: impl Fn(&VerifyingKey) -> bool,
    ) -> Result<&'k VerifyingKey, Reason> {
        let mut fitting: Vec<&VerifyingKey> = fitting.collect();
        let good = |key: &VerifyingKey| key.good.load(Ordering::Relaxed);
        let latest = fitting.iter().enumerate().max_by_key(|(at, key)| (good(key), Reverse(*at)));
        let latest = latest.map(|(at, _)| at);
        if let Some(up_to_it) = latest.and_then(|at| fitting.get_mut(..=at)) {
            up_to_it.rotate_right(1);
        }
        let natively = fitting.first().is_some_and(|key| key.spki.is_some());
        let vain = if natively { &self.vain.0 } else { &self.vain.1 };
        let vain = || vain.lock().unwrap_or_else(PoisonError::into_inner);
        for (tried, key) in (0..).zip(&fitting) {
            if tried > 0 && now_s.is_some_and(|now_s| !vain().take(now_s.saturating_mul(1_000))) {
                return Err(Reason::VerificationBusy);
            }
            if is_signed(key) {
                if fitting.len() > 1 && now_s.is_some() {
                    vain().give_back(tried);
                    let latest = self.good.fetch_add(1, Ordering::Relaxed);
                    key.good.store(latest.saturating_add(1), Ordering::Relaxed);
                }
                return Ok(key);
            }
        }
        Err(if fitting.is_empty() { Reason::KeyUnknown } else { Reason::SignatureInvalid })
    }

    /// The keys that may have signed a token: those of its `kid`, of which there may be several while one takes
    /// another's place, or without one all of that algorithm. Whatever name the token gives a shared secret, it
    /// is the only one of its algorithm. Each try costs a verification, and anybody can make us try: so there are
    /// [`MAX_TRIES`] at most.
    pub fn fitting<'k>(
        &'k self,
        algorithm: Algorithm,
        kid: Option<&'k str>,
        issuer: &'k IssuerId,
    ) -> impl Iterator<Item = &'k VerifyingKey> {
        let named = kid.filter(|_| !is_shared(algorithm));
        let fits = move |key: &&VerifyingKey| {
            key.algorithm == algorithm
                && named.is_none_or(|kid| key.kid.as_deref() == Some(kid))
                && key.issuer.as_deref().is_none_or(|of| key_is_of(of, issuer.as_str()))
        };
        let natively = self.keys.iter().find(fits).is_some_and(|key| key.spki.is_some());
        self.keys.iter().filter(fits).take(if natively { MAX_TRIES.0 } else { MAX_TRIES.1 })
    }
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

/// The prepared keys of all issuers, prepared again only when an issuer's document changed.
#[derive(Default)]
pub struct KeyRing {
    issuers: Guarded<Issuers>,
}

#[derive(Default)]
struct Issuers(HashMap<String, Prepared>);

impl Rebuild for Issuers {
    fn rebuild(&mut self) {
        self.0.clear();
    }
}

/// An issuer's keys, and what they were prepared from.
struct Prepared {
    document: Arc<IssuerDocument>,
    secret: Option<Arc<Secret>>,
    keys: Arc<IssuerKeys>,
}

impl Prepared {
    fn is_of(&self, document: &Arc<IssuerDocument>, secret: Option<&Arc<Secret>>) -> bool {
        let same_secret = match (&self.secret, secret) {
            (Some(known), Some(secret)) => Arc::ptr_eq(known, secret),
            (None, None) => true,
            _ => false,
        };
        same_secret && Arc::ptr_eq(&self.document, document)
    }
}

impl KeyRing {
    /// The prepared keys of an issuer of the snapshot. Those of issuers that it no longer has are forgotten
    /// when others are prepared.
    pub fn keys(&self, document: &Arc<IssuerDocument>, snapshot: &SnapshotState) -> Arc<IssuerKeys> {
        let issuer = document.issuer.as_str();
        let secret = snapshot.issuer_secret(issuer);
        let mut issuers = self.issuers.lock();
        if let Some(prepared) = issuers.0.get(issuer)
            && prepared.is_of(document, secret)
        {
            return Arc::clone(&prepared.keys);
        }
        let keys = Arc::new(IssuerKeys::prepare(document, secret));
        let prepared =
            Prepared { document: Arc::clone(document), secret: secret.cloned(), keys: Arc::clone(&keys) };
        issuers.0.retain(|issuer, _| snapshot.issuer(issuer).is_some());
        issuers.0.insert(issuer.to_owned(), prepared);
        keys
    }
}
