//! The keys of issuers, prepared once from their sets, and which of them a token is tried with.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_engine::guarded::{Guarded, Rebuild};
use portcullis_identity::ids::IssuerId;
use portcullis_model::Reason;
use portcullis_model::pace::TokenBucket;
use portcullis_model::policy::{Algorithm, IssuerDocument};
use portcullis_model::state::{Secret, SnapshotState};
use portcullis_model::template::key_is_of;

use crate::key_set::KeySet;
use crate::shared_secret::is_shared;
use crate::verifying_key::VerifyingKey;

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
        let keys =
            document.algorithms.iter().filter_map(|algorithm| VerifyingKey::shared(secret?, *algorithm));
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
