//! What the verification of a token's signature costs in the libraries that the native module could stand on:
//! `cargo run --release -p portcullis-bench --example crypto [ROUNDS]`. Rounds are interleaved, and each
//! verifies from the key as it is published, or from one that was read before. Processor time, medians, with the
//! least and the greatest.

use std::error::Error;
use std::hint::black_box;

use aws_lc_rs::signature as aws;
use jwt_simple::prelude::RS256KeyPair;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};

/// Verifications in a round.
const EACH: u32 = 2_000;

/// As long as the signed part of a usual token.
const TEXT: &[u8] = &[b'x'; 600];

/// A verification, and what it is called.
type Case = (&'static str, Box<dyn Fn() -> bool>);

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(15), |rounds| rounds.parse::<usize>())?;
    let cases = cases()?;
    let mut costs = vec![Vec::new(); cases.len()];
    for round in 0..rounds {
        for at in 0..cases.len() {
            let at = (at + round) % cases.len();
            costs[at].push(microseconds(&cases[at].1)?);
        }
    }
    for ((name, _), costs) in cases.iter().zip(&mut costs) {
        costs.sort_by(f64::total_cmp);
        let (least, greatest) = (costs[0], costs[costs.len() - 1]);
        println!("{name:<26} {:>7.1} µs ({least:.1} … {greatest:.1})", costs[costs.len() / 2]);
    }
    Ok(())
}

/// Processor time of a verification, which other programs do not change much.
fn microseconds(verify: &dyn Fn() -> bool) -> Result<f64, Box<dyn Error>> {
    let began = processor_time()?;
    for _ in 0..EACH {
        assert!(black_box(verify()), "a good signature");
    }
    Ok((processor_time()? - began) / 1e3 / f64::from(EACH))
}

/// Nanoseconds that this thread has run, by the kernel's books.
fn processor_time() -> Result<f64, Box<dyn Error>> {
    let books = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(books.split_whitespace().next().unwrap_or_default().parse()?)
}

fn cases() -> Result<Vec<Case>, Box<dyn Error>> {
    let key = RS256KeyPair::generate(2048)?.to_der()?;
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::from_pkcs8(&key).or_else(|_| RsaKeyPair::from_der(&key)).map_err(told)?;
    let mut by_rsa = vec![0; rsa.public().modulus_len()];
    rsa.sign(&signature::RSA_PKCS1_SHA256, &random, TEXT, &mut by_rsa).map_err(told)?;
    let form = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(form, &random).map_err(told)?;
    let ec = EcdsaKeyPair::from_pkcs8(form, pkcs8.as_ref(), &random).map_err(told)?;
    let by_ec = ec.sign(&random, TEXT).map_err(told)?.as_ref().to_vec();
    let (rsa, ec) = (rsa.public_key().as_ref().to_vec(), ec.public_key().as_ref().to_vec());
    Ok(vec![
        ("RS256, aws-lc-rs", in_aws_lc(&aws::RSA_PKCS1_2048_8192_SHA256, &rsa, &by_rsa)),
        ("RS256, aws-lc-rs, parsed", parsed(&aws::RSA_PKCS1_2048_8192_SHA256, &rsa, &by_rsa)?),
        ("RS256, ring", in_ring(&signature::RSA_PKCS1_2048_8192_SHA256, &rsa, &by_rsa)),
        ("ES256, aws-lc-rs", in_aws_lc(&aws::ECDSA_P256_SHA256_ASN1, &ec, &by_ec)),
        ("ES256, aws-lc-rs, parsed", parsed(&aws::ECDSA_P256_SHA256_ASN1, &ec, &by_ec)?),
        ("ES256, ring", in_ring(&signature::ECDSA_P256_SHA256_ASN1, &ec, &by_ec)),
    ])
}

/// ring's errors are no errors of the standard library.
fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn in_aws_lc(
    algorithm: &'static dyn aws::VerificationAlgorithm,
    key: &[u8],
    signed: &[u8],
) -> Box<dyn Fn() -> bool> {
    let (key, signed) = (key.to_vec(), signed.to_vec());
    Box::new(move || aws::UnparsedPublicKey::new(algorithm, &key).verify(TEXT, &signed).is_ok())
}

/// The same with a key that was read before.
fn parsed(
    algorithm: &'static dyn aws::VerificationAlgorithm,
    key: &[u8],
    signed: &[u8],
) -> Result<Box<dyn Fn() -> bool>, String> {
    let (key, signed) = (aws::ParsedPublicKey::new(algorithm, key).map_err(told)?, signed.to_vec());
    Ok(Box::new(move || key.verify_sig(TEXT, &signed).is_ok()))
}

fn in_ring(
    algorithm: &'static dyn signature::VerificationAlgorithm,
    key: &[u8],
    signed: &[u8],
) -> Box<dyn Fn() -> bool> {
    let (key, signed) = (key.to_vec(), signed.to_vec());
    Box::new(move || signature::UnparsedPublicKey::new(algorithm, &key).verify(TEXT, &signed).is_ok())
}
