//! Which keys of an issuer's set can be used for the algorithms that it is allowed, and which cannot.
//!
//! The one definition of it: the control service publishes what filters can verify with, and tells what they cannot.

use portcullis_identity::KeyId;
use portcullis_model::policy::{Algorithm, Jwk, Jwks};

use crate::jwk::{LeftOut, MAX_KEYS, PublicKey, Shown, Unusable, kind, needs};
use crate::verifying_key::VerifyingKey;

/// What a set gives for the algorithms that its issuer is allowed.
#[derive(Default)]
pub struct KeySet {
    /// Ready to verify, in the order of the set.
    pub keys: Vec<VerifyingKey>,
    /// The members that they came from.
    pub used: Jwks,
    /// The others.
    pub left_out: Vec<LeftOut>,
}

impl KeySet {
    /// Looks at each key of a set. RFC 7517 §5: keys that are not understood are passed over. `svid`: the keys are
    /// for JWT-SVIDs.
    #[must_use]
    pub fn read(jwks: &Jwks, algorithms: &[Algorithm], svid: bool) -> Self {
        let mut set = Self::default();
        for jwk in &jwks.keys {
            if let Err(why) = set.take(jwk, algorithms, svid) {
                set.left_out.push(LeftOut::new(jwk.kid.as_deref(), why));
            }
        }
        set
    }

    fn take(&mut self, jwk: &Jwk, algorithms: &[Algorithm], svid: bool) -> Result<(), Unusable> {
        let mut new = prepare(jwk, algorithms, svid)?;
        new.retain(|key| !self.keys.iter().any(|known| known.is_same(key)));
        if new.is_empty() {
            return Err(Unusable::Twice);
        }
        if self.used.keys.len() >= MAX_KEYS {
            return Err(Unusable::TooMany);
        }
        self.keys.append(&mut new);
        self.used.keys.push(jwk.clone());
        Ok(())
    }
}

/// A key for each of the algorithms that may be used with it.
fn prepare(jwk: &Jwk, algorithms: &[Algorithm], svid: bool) -> Result<Vec<VerifyingKey>, Unusable> {
    if !jwk.may_verify(svid) {
        return Err(Unusable::OtherUse);
    }
    if jwk.kid.as_deref().is_some_and(|kid| KeyId::new(kid).is_err()) {
        return Err(Unusable::KeyId);
    }
    let names = |algorithm: &&Algorithm| jwk.alg.as_deref().is_none_or(|name| algorithm.as_str() == name);
    let named: Vec<Algorithm> = algorithms.iter().filter(names).copied().collect();
    if named.is_empty() {
        return Err(Unusable::OtherAlgorithm(Shown::new(jwk.alg.as_deref().unwrap_or_default())));
    }
    let fitting: Vec<_> = named.into_iter().filter(|algorithm| needs(*algorithm) == kind(jwk)).collect();
    if fitting.is_empty() {
        let (kty, crv) = kind(jwk);
        return Err(Unusable::OtherType(Shown::new([kty, " ", crv].concat().trim_end())));
    }
    let public = PublicKey::read(jwk)?;
    let key = |algorithm| VerifyingKey::new(jwk, &public, algorithm);
    fitting.into_iter().map(key).collect::<Option<_>>().ok_or(Unusable::NoKey)
}
