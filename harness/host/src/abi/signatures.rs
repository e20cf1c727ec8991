//! The foreign function `verify_signature`: RSA PKCS#1 v1.5, and ECDSA with DER signatures.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::pkcs8::DecodePublicKey as _;
use prost::Message;
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::pkcs8::SubjectPublicKeyInfoRef;
use rsa::sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use rsa::{BigUint, RsaPublicKey, pkcs1};
use sha1::Sha1;

use crate::codes::Status;

#[derive(Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

#[derive(Message)]
struct Verdict {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

/// The largest key that BoringSSL takes.
const MAX_RSA_BITS: usize = 8192;

/// Answers with a serialised verdict; a status only where the arguments cannot be read.
pub(super) fn verify(arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let arguments = Arguments::decode(arguments).map_err(|_| Status::BadArgument)?;
    if arguments.public_key.is_empty() {
        return Err(Status::BadArgument);
    }
    let (result, error) = match check(&arguments) {
        Ok(()) => (true, String::new()),
        Err(error) => (false, error),
    };
    Ok(Verdict { result, error }.encode_to_vec())
}

/// Verifies with a key of one curve, if it is one. `$size` is the bytes of its field.
macro_rules! ecdsa {
    ($curve:ident, $size:literal, $key:expr, $digest:expr, $signature:expr) => {
        if let Ok(key) = $curve::ecdsa::VerifyingKey::from_public_key_der($key) {
            let signature = $curve::ecdsa::Signature::from_der($signature).map_err(|_| failed())?;
            return key.verify_prehash(&widened($digest, $size), &signature).map_err(|_| failed());
        }
    };
}

fn check(arguments: &Arguments) -> Result<(), String> {
    let (digest, scheme) = digest(&arguments.hash, &arguments.text)?;
    let (key, signature) = (first_element(&arguments.public_key), &arguments.signature);
    if let Some(key) = rsa_key(key) {
        return key.verify(scheme, &digest, signature).map_err(|_| failed());
    }
    ecdsa!(p256, 32, key, digest, signature);
    ecdsa!(p384, 48, key, digest, signature);
    ecdsa!(p521, 66, key, digest, signature);
    Err("Failed to initialize digest verify.".to_owned())
}

fn failed() -> String {
    "Failed to verify digest. Error code: 0".to_owned()
}

/// A DER sequence without what comes after it, which BoringSSL does not look at.
fn first_element(der: &[u8]) -> &[u8] {
    let (length, head) = match *der {
        [0x30, length @ ..=0x7f, ..] => (usize::from(length), 2),
        [0x30, 0x81, length, ..] => (usize::from(length), 3),
        [0x30, 0x82, high, low, ..] => (usize::from(u16::from_be_bytes([high, low])), 4),
        _ => return der,
    };
    der.get(..head + length).unwrap_or(der)
}

/// An RSA key; the crate's own decoder takes no more than 4,096 bits.
fn rsa_key(der: &[u8]) -> Option<RsaPublicKey> {
    let info = SubjectPublicKeyInfoRef::try_from(der).ok()?;
    if info.algorithm.oid != pkcs1::ALGORITHM_OID {
        return None;
    }
    let key = pkcs1::RsaPublicKey::try_from(info.subject_public_key.as_bytes()?).ok()?;
    let number = |number: pkcs1::UintRef<'_>| BigUint::from_bytes_be(number.as_bytes());
    let (modulus, exponent) = (number(key.modulus), number(key.public_exponent));
    RsaPublicKey::new_with_max_size(modulus, exponent, MAX_RSA_BITS).ok()
}

/// A digest as the number that it is, for a curve that wants more bytes than the hash has.
fn widened(digest: Vec<u8>, size: usize) -> Vec<u8> {
    [vec![0; size.saturating_sub(digest.len())], digest].concat()
}

fn digest(hash: &str, text: &[u8]) -> Result<(Vec<u8>, Pkcs1v15Sign), String> {
    Ok(match hash.to_ascii_lowercase().as_str() {
        "sha1" => (Sha1::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha1>()),
        "sha224" => (Sha224::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha224>()),
        "sha256" => (Sha256::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha256>()),
        "sha384" => (Sha384::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha384>()),
        "sha512" => (Sha512::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha512>()),
        _ => return Err(format!("{hash} is not supported.")),
    })
}
