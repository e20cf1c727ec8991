//! A key of an issuer's set (RFC 7517): how it is read, and why one cannot be used.
//!
//! How a key is spelled is no reason to refuse it; what it is can be one.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_model::policy::{Algorithm, Jwk, Jwks};
use serde::Deserialize;
use serde_json::Value;

/// Keys of one issuer at most.
pub const MAX_KEYS: usize = 100;

/// Bits of an RSA modulus, least and most: what jwt-simple takes.
pub const RSA_BITS: (usize, usize) = (2048, 4096);

/// Why a key of a set is not used. Its message goes on "the key …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is no JSON object with the members of a key.
    #[error("is no JSON object, or its member `{0}` has the wrong type")]
    Unreadable(&'static str),
    /// The issuer says that it is for something else (RFC 7517 §4.2, §4.3).
    #[error("is not for verifying signatures: its `use` or `key_ops` says so")]
    OtherUse,
    /// The issuer says that it is for an algorithm that the configuration does not allow.
    #[error("is for {0} alone, which `algorithms` does not name")]
    OtherAlgorithm(Shown),
    /// None of the allowed algorithms takes such a key.
    #[error("is of the type {0}, which none of `algorithms` takes")]
    OtherType(Shown),
    /// A member that its type needs.
    #[error("has no `{0}` in base64url of the right length")]
    Member(&'static str),
    /// An RSA key of another size.
    #[error("is an RSA key of {0} bits; {least} to {most} are taken", least = RSA_BITS.0, most = RSA_BITS.1)]
    RsaBits(usize),
    /// An RSA key with another exponent than everybody's.
    #[error("is an RSA key with an exponent other than 65537")]
    RsaExponent,
    /// The numbers are no public key.
    #[error("is no public key: its numbers are none of the kind")]
    NoKey,
    /// Its name could not be recorded, nor revoked by it.
    #[error("has a `kid` that is empty, longer than 255 bytes, or not printable")]
    KeyId,
    /// The same key by the same name is there before it.
    #[error("is in the set twice")]
    Twice,
    /// There are [`MAX_KEYS`] before it.
    #[error("comes after the first {MAX_KEYS}, which are all that are taken")]
    TooMany,
}

/// A few characters of somebody else's text, fit to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Longest shown text, in characters.
    const MAX: usize = 64;

    pub(crate) fn new(text: &str) -> Self {
        Self(text.chars().take(Self::MAX).flat_map(char::escape_debug).collect())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its `kid`.
    pub kid: Option<Shown>,
    /// Why.
    pub why: Unusable,
}

impl LeftOut {
    pub(crate) fn new(kid: Option<&str>, why: Unusable) -> Self {
        Self { kid: kid.map(Shown::new), why }
    }

    /// Whether that is how the issuer wants it: the key is for something else.
    #[must_use]
    pub fn is_meant(&self) -> bool {
        matches!(self.why, Unusable::OtherUse)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "the key \"{kid}\" {}", self.why),
            None => write!(f, "a key without `kid` {}", self.why),
        }
    }
}

/// Reads the members of a set one by one: one that cannot be read says nothing of the others.
#[must_use]
pub fn read_members(members: &[Value]) -> (Jwks, Vec<LeftOut>) {
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    for member in members {
        match read_member(member) {
            Ok(key) => keys.push(key),
            Err(why) => left_out.push(LeftOut::new(member.get("kid").and_then(Value::as_str), why)),
        }
    }
    (Jwks { keys }, left_out)
}

fn read_member(member: &Value) -> Result<Jwk, Unusable> {
    let text = |name: &'static str| match member.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Unusable::Unreadable(name)),
    };
    let key_ops = match member.get("key_ops") {
        None | Some(Value::Null) => None,
        Some(ops) => Some(Vec::deserialize(ops).map_err(|_| Unusable::Unreadable("key_ops"))?),
    };
    Ok(Jwk {
        kty: text("kty")?.ok_or(Unusable::Unreadable("kty"))?,
        kid: text("kid")?,
        alg: text("alg")?,
        key_use: text("use")?,
        key_ops,
        crv: text("crv")?,
        n: text("n")?,
        e: text("e")?,
        x: text("x")?,
        y: text("y")?,
        issuer: text("issuer")?,
    })
}

/// `kty` and, where the type has one, `crv`.
pub(crate) type Kind<'a> = (&'a str, &'a str);

pub(crate) fn kind(jwk: &Jwk) -> Kind<'_> {
    let has_curve = jwk.kty != "RSA";
    (&jwk.kty, jwk.crv.as_deref().filter(|_| has_curve).unwrap_or_default())
}

/// The one kind of key that an algorithm takes (RFC 7518 §3.1, RFC 8037 §3.1).
pub(crate) fn needs(algorithm: Algorithm) -> Kind<'static> {
    use Algorithm as A;
    match algorithm {
        A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512 => ("RSA", ""),
        A::ES256 => ("EC", "P-256"),
        A::ES384 => ("EC", "P-384"),
        A::ES512 => ("EC", "P-521"),
        A::EdDSA => ("OKP", "Ed25519"),
        // A shared secret never comes with a set.
        A::HS256 | A::HS384 | A::HS512 => ("", ""),
    }
}

/// A public key in bytes, whatever way it was spelled.
pub(crate) enum PublicKey {
    /// Modulus and exponent, without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    /// The uncompressed point (SEC 1 §2.3.3).
    Ec(Vec<u8>),
    /// The 32 bytes of RFC 8032 §5.1.5.
    Ed25519([u8; 32]),
}

impl PublicKey {
    pub(crate) fn read(jwk: &Jwk) -> Result<Self, Unusable> {
        match kind(jwk) {
            ("RSA", _) => Self::rsa(jwk),
            ("EC", "P-256") => Self::point(jwk, 32),
            ("EC", "P-384") => Self::point(jwk, 48),
            ("EC", "P-521") => Self::point(jwk, 66),
            ("OKP", "Ed25519") => {
                let x = decode(jwk.x.as_deref()).and_then(|x| x.try_into().ok());
                x.map(Self::Ed25519).ok_or(Unusable::Member("x"))
            }
            _ => Err(Unusable::NoKey),
        }
    }

    fn rsa(jwk: &Jwk) -> Result<Self, Unusable> {
        let n = decode(jwk.n.as_deref()).map(shortest).ok_or(Unusable::Member("n"))?;
        let e = decode(jwk.e.as_deref()).map(shortest).ok_or(Unusable::Member("e"))?;
        let top = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = n.len().saturating_mul(8).saturating_sub(top);
        if !(RSA_BITS.0..=RSA_BITS.1).contains(&bits) {
            return Err(Unusable::RsaBits(bits));
        }
        if e != [1, 0, 1] {
            return Err(Unusable::RsaExponent);
        }
        Ok(Self::Rsa(n, e))
    }

    /// A point of a curve whose numbers have `half` bytes. Some write them shorter, some as signed integers, with
    /// zeros before them: the number is the same.
    fn point(jwk: &Jwk, half: usize) -> Result<Self, Unusable> {
        let number = |member: &Option<String>, name| {
            let digits = decode(member.as_deref()).map(shortest).ok_or(Unusable::Member(name))?;
            let missing = half.checked_sub(digits.len()).ok_or(Unusable::Member(name))?;
            Ok([vec![0; missing], digits].concat())
        };
        Ok(Self::Ec([vec![4], number(&jwk.x, "x")?, number(&jwk.y, "y")?].concat()))
    }

    /// Its bytes, with what tells the kinds apart.
    pub(crate) fn parts(&self) -> (&'static str, &[u8], &[u8]) {
        match self {
            Self::Rsa(n, e) => ("RSA", n, e),
            Self::Ec(point) => ("EC", point, &[]),
            Self::Ed25519(x) => ("OKP", x, &[]),
        }
    }
}

/// A number without the zeros before it.
fn shortest(digits: Vec<u8>) -> Vec<u8> {
    digits.into_iter().skip_while(|byte| *byte == 0).collect()
}

/// Base64 in either alphabet (RFC 4648 §4, §5), with or without padding; `None` for nothing at all.
fn decode(text: Option<&str>) -> Option<Vec<u8>> {
    let url_safe: String = text?
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    URL_SAFE_NO_PAD.decode(url_safe).ok().filter(|bytes| !bytes.is_empty())
}
