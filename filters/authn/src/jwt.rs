//! JSON Web Tokens (RFC 7519) of configured issuers.

use std::cell::Cell;
use std::sync::Arc;

use portcullis_engine::cache::KeyDigest;
use portcullis_identity::{KeyId, Principal};
use portcullis_model::Reason;
use portcullis_model::claims::other_use;
use portcullis_model::policy::{Algorithm, IssuerDocument};
use portcullis_model::state::SnapshotState;
use portcullis_model::state::TokenIssuer;

use crate::credential::{MAX_CREDENTIAL_LEN, Verified};
use crate::judge::{Read, Rules, not_of_the_issuer};
use crate::jws::Jws;
use crate::keys::KeyRing;
use crate::rejected::Rejected;
use crate::shared_secret::is_shared;
use crate::verifying_key::{NativeVerify, Signed, VerifyingKey};

/// Verifies a token: form, issuer, algorithm, key, signature, and only then judges its claims.
///
/// What is verified are the signed bytes, and never a token that a library takes apart once more. The claims are
/// read afterwards, so that a refusal can name the claim and whose token it is: before that it is nobody's.
///
/// # Errors
/// The reason of the refusal.
pub fn verify(
    token: &[u8],
    snapshot: &SnapshotState,
    keys: &KeyRing,
    native: &dyn NativeVerify,
    now_s: u64,
) -> Result<Verified, Rejected> {
    verify_or_doubt(token, snapshot, keys, native, now_s, &Doubted::default())
}

/// The issuer of a token that none of its keys had signed: one may have been replaced under its name.
pub type Doubted = Cell<Option<Arc<IssuerDocument>>>;

/// The same, and tells whose keys are in doubt.
///
/// # Errors
/// The reason of the refusal.
pub fn verify_or_doubt(
    token: &[u8],
    snapshot: &SnapshotState,
    keys: &KeyRing,
    native: &dyn NativeVerify,
    now_s: u64,
    doubted: &Doubted,
) -> Result<Verified, Rejected> {
    let jws = Jws::parse(token)?;
    let is_signed = |jws: &Jws<'_>, key: &VerifyingKey| {
        key.verify(Signed { text: jws.signed, signature: &jws.signature }, native)
    };
    judge(jws, snapshot, keys, is_signed, now_s, Some(doubted))
}

/// Judges a token again whose signature was verified before, by this key: by what policy says now.
/// `signed` is what was signed, header and payload.
///
/// # Errors
/// The reason for which the token would be refused now.
pub fn judge_again(
    (signed, digest): (&[u8], KeyDigest),
    snapshot: &SnapshotState,
    keys: &KeyRing,
    now_s: u64,
) -> Result<Verified, Reason> {
    // The form has three parts; the third was left out when the token was verified.
    let text = [signed, b"."].concat();
    let was_it = |_: &Jws<'_>, key: &VerifyingKey| key.digest() == digest;
    let again = judge(Jws::parse(&text)?, snapshot, keys, was_it, now_s, None);
    again.map_err(|rejected| match rejected.reason {
        // It is not among the keys any more.
        Reason::SignatureInvalid => Reason::KeyUnknown,
        reason => reason,
    })
}

/// `doubted`: signatures are verified, and where none of the keys had signed, they are in doubt.
fn judge(
    jws: Jws<'_>,
    snapshot: &SnapshotState,
    keys: &KeyRing,
    is_signed: impl Fn(&Jws<'_>, &VerifyingKey) -> bool,
    now_s: u64,
    doubted: Option<&Doubted>,
) -> Result<Verified, Rejected> {
    let issuer = TokenIssuer::of(&jws.claims, snapshot).ok_or(Reason::IssuerUnknown)?;
    let document = issuer.document;
    let rules = Rules::of_issuer(document, &issuer.name)?;
    let algorithm = allowed(&jws, document)?;
    if document.keys_expired {
        return Err(Reason::IssuerKeysExpired.into());
    }
    let prepared = keys.keys(document, snapshot);
    let fitting = prepared.fitting(algorithm, jws.key_id.as_deref(), &issuer.name);
    let key = prepared.signer(fitting, doubted.map(|_| now_s), |key| is_signed(&jws, key)).inspect_err(
        |reason| {
            if let Some(doubted) =
                doubted.filter(|_| *reason == Reason::SignatureInvalid && !is_shared(algorithm))
            {
                doubted.set(Some(Arc::clone(document)));
            }
        },
    )?;
    // From the key and not from the token: a revoked key must not pass by leaving its name out.
    let key_id = key.id().and_then(|kid| KeyId::new(kid).ok());
    let of_issuer = issuer.check(&jws.claims).map_err(|fault| not_of_the_issuer(&jws.claims, rules, fault));
    let judged = of_issuer.and_then(|()| Read::new(&jws.claims, rules)?.judge(now_s));
    match judged {
        Ok(principal) => {
            let principal = Principal { key_id, ..principal };
            Ok(Verified { principal, claims: jws.claims, source_type: None, key: Some(key.digest()) })
        }
        Err(mut rejected) => {
            if let Some(whose) = &mut rejected.whose {
                whose.key_id = key_id;
            }
            Err(rejected)
        }
    }
}

/// The issuer and the name of the key of a token that was refused because the key is not known: what may be
/// asked for. `None` where nobody can have it.
#[must_use]
pub fn unknown_key(token: &[u8], snapshot: &SnapshotState) -> Option<(Arc<IssuerDocument>, KeyId)> {
    let jws = Jws::parse(token).ok()?;
    let document = TokenIssuer::of(&jws.claims, snapshot)?.document;
    let key_id = KeyId::new(jws.key_id.as_deref()?).ok()?;
    let public = document.algorithms.iter().all(|algorithm| !is_shared(*algorithm));
    public.then(|| (Arc::clone(document), key_id))
}

/// What the issuer's policy says of a token's size, type and algorithm.
fn allowed(jws: &Jws<'_>, document: &IssuerDocument) -> Result<Algorithm, Reason> {
    let longest = match usize::try_from(document.max_token_bytes) {
        Ok(limit) if limit > 0 => limit,
        _ => MAX_CREDENTIAL_LEN,
    };
    if jws.text.len() > longest {
        return Err(Reason::CredentialTooLarge);
    }
    let is_for_access = || document.any_token_use || other_use(&jws.claims).is_none();
    if !jws.is_of_type(&document.token_types, document.jwt_svid) || !is_for_access() {
        return Err(Reason::CredentialUnsupported);
    }
    let mut algorithms = document.algorithms.iter();
    algorithms.find(|alg| alg.as_str() == jws.algorithm).copied().ok_or(Reason::AlgorithmNotAllowed)
}
