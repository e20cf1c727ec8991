//! Every algorithm through the module as it is shipped: with the proxy's native verification where there is
//! one, and in pure Rust on a proxy that has none. Another library signs.

mod world;

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use jwt_simple::prelude::*;
use p521::ecdsa::signature::Signer;
use portcullis_protocol::wire::RecordKind;
use portcullis_testhost::{Callback, Fault, Status};
use serde_json::{Value, json};
use world::{Target, World, claims, put, target, to};

const SECRET: [u8; 64] = [7; 64];

/// Signs the signing input of a token: the signature in base64url.
type Sign = Box<dyn Fn(&[u8]) -> String + Send + Sync>;

/// How an issuer signs: `alg`, its JWK, and the signature of a text.
struct Issuer {
    alg: &'static str,
    jwk: Value,
    sign: Sign,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn point(bytes: &[u8], curve: &str) -> Value {
    let (x, y) = bytes[1..].split_at(bytes.len() / 2);
    json!({"kty": "EC", "crv": curve, "kid": "k", "x": b64(x), "y": b64(y)})
}

fn issuers() -> &'static [Issuer] {
    static ISSUERS: OnceLock<Vec<Issuer>> = OnceLock::new();
    ISSUERS.get_or_init(make)
}

fn make() -> Vec<Issuer> {
    let by = |algorithm: Algorithm, key: EncodingKey| -> Sign {
        Box::new(move |text| jsonwebtoken::crypto::sign(text, &key, algorithm).expect("signs"))
    };
    let rsa = RS256KeyPair::generate(2048).expect("an RSA key");
    let parts = rsa.public_key().to_components();
    let rsa_jwk = json!({"kty": "RSA", "kid": "k", "n": b64(parts.n), "e": b64(parts.e)});
    let rsa_pem = rsa.to_pem().expect("PEM");
    let p256 = ES256KeyPair::generate();
    let p384 = ES384KeyPair::generate();
    let p521 = p521::ecdsa::SigningKey::from_slice(&[&[0; 2][..], &[5; 64]].concat()).expect("a P-521 key");
    let mut all: Vec<Issuer> = [
        ("RS256", Algorithm::RS256),
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
        ("PS384", Algorithm::PS384),
        ("PS512", Algorithm::PS512),
    ]
    .into_iter()
    .map(|(alg, algorithm)| {
        let key = EncodingKey::from_rsa_pem(rsa_pem.as_bytes()).expect("an RSA key");
        Issuer { alg, jwk: rsa_jwk.clone(), sign: by(algorithm, key) }
    })
    .collect();
    for (alg, algorithm) in
        [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)]
    {
        all.push(Issuer { alg, jwk: Value::Null, sign: by(algorithm, EncodingKey::from_secret(&SECRET)) });
    }
    let key = EncodingKey::from_ec_pem(p256.to_pem().expect("PEM").as_bytes()).expect("a P-256 key");
    let jwk = point(&p256.public_key().public_key().to_bytes_uncompressed(), "P-256");
    all.push(Issuer { alg: "ES256", jwk, sign: by(Algorithm::ES256, key) });
    let key = EncodingKey::from_ec_pem(p384.to_pem().expect("PEM").as_bytes()).expect("a P-384 key");
    let jwk = point(&p384.public_key().public_key().to_bytes_uncompressed(), "P-384");
    all.push(Issuer { alg: "ES384", jwk, sign: by(Algorithm::ES384, key) });
    let jwk = point(p521.verifying_key().to_sec1_point(false).as_bytes(), "P-521");
    let sign = move |text: &[u8]| {
        let signature: p521::ecdsa::Signature = p521.sign(text);
        b64(signature.to_bytes())
    };
    all.push(Issuer { alg: "ES512", jwk, sign: Box::new(sign) });
    all
}

fn token(issuer: &Issuer, claims: &Value) -> String {
    let header = json!({"alg": issuer.alg, "kid": "k", "typ": "JWT"});
    let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = (issuer.sign)(text.as_bytes());
    format!("{text}.{signature}")
}

/// Runs good and bent tokens of every issuer, and counts how often the proxy was asked to verify.
fn run(prepare: impl Fn(&mut World)) -> usize {
    let mut world = World::gateway();
    for issuer in issuers() {
        let name = format!("https://{}.test", issuer.alg);
        let keys = if issuer.jwk.is_null() { json!([]) } else { json!([issuer.jwk]) };
        let document = json!({"issuer": name, "audiences": ["portcullis"], "algorithms": [issuer.alg], "jwks": {"keys": keys}});
        world.change(put(RecordKind::Issuer, name.as_bytes(), document.to_string()));
        world.change(put(RecordKind::IssuerSecret, name.as_bytes(), SECRET));
    }
    prepare(&mut world);
    let mut verified = 0;
    for issuer in issuers() {
        let claims = claims(|c| c["iss"] = json!(format!("https://{}.test", issuer.alg)));
        let good = token(issuer, &claims);
        let (text, signature) = good.rsplit_once('.').expect("a signature");
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        bytes[7] ^= 1;
        let bent = format!("{text}.{}", b64(&bytes));
        let bearer = |token: &str| to("acme-1").header("authorization", format!("Bearer {token}"));
        let exchange = world.host.request(bearer(&good));
        assert_eq!(exchange.status(), Some(200), "{}: {exchange}", issuer.alg);
        verified += format!("{exchange}").matches("verify_signature").count();
        let exchange = world.host.request(bearer(&bent));
        exchange.assert_refused(401);
        exchange.assert_response_header("x-portcullis-reason", "signature_invalid");
    }
    verified
}

on_both! { with_native_verification }

fn with_native_verification() {
    // RS256, RS384, RS512 and ES256 are the proxy's. Native code asks nobody.
    assert_eq!(run(|_| ()), if target() == Target::Wasm { 4 } else { 0 });
}

/// Wasm alone: native code always has its library.
#[test]
fn without_native_verification() {
    run(|world| {
        let fault = Fault::status(Status::NotFound).on("proxy_call_foreign_function");
        world.host.inject(fault.during(Callback::RequestHeaders).always());
    });
}
