//! The foreign function `verify_signature`: RSA PKCS#1 v1.5, and ECDSA with DER signatures.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::pkcs8::DecodePublicKey as _;
use prost::Message;
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
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

/// Answers with a serialised verdict; a status only where the arguments or the key cannot be read.
pub(super) fn verify(arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let arguments = Arguments::decode(arguments).map_err(|_| Status::BadArgument)?;
    let verdict = check(&arguments)?;
    let (result, error) = match verdict {
        Ok(()) => (true, String::new()),
        Err(error) => (false, error),
    };
    Ok(Verdict { result, error }.encode_to_vec())
}

fn check(arguments: &Arguments) -> Result<Result<(), String>, Status> {
    let Arguments { hash, public_key, signature, text } = arguments;
    let digest = digest(hash, text);
    let failed = || "Failed to verify digest. Error code: 0".to_owned();
    if let Ok(key) = rsa::RsaPublicKey::from_public_key_der(public_key) {
        return Ok(
            digest.and_then(|(bytes, scheme)| key.verify(scheme, &bytes, signature).map_err(|_| failed()))
        );
    }
    if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(public_key) {
        return Ok(digest.and_then(|(bytes, _)| {
            let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| failed())?;
            key.verify_prehash(&bytes, &signature).map_err(|_| failed())
        }));
    }
    if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(public_key) {
        return Ok(digest.and_then(|(bytes, _)| {
            let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| failed())?;
            key.verify_prehash(&bytes, &signature).map_err(|_| failed())
        }));
    }
    Err(Status::BadArgument)
}

fn digest(hash: &str, text: &[u8]) -> Result<(Vec<u8>, Pkcs1v15Sign), String> {
    Ok(match hash {
        "sha1" => (Sha1::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha1>()),
        "sha224" => (Sha224::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha224>()),
        "sha256" => (Sha256::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha256>()),
        "sha384" => (Sha384::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha384>()),
        "sha512" => (Sha512::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha512>()),
        other => return Err(format!("{other} is not supported.")),
    })
}
