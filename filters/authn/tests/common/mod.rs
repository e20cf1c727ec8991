//! Policies, keys and tokens for the tests of the authentication stage.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use p521::ecdsa::signature::Signer as _;
use portcullis_authn::{KeyRing, NativeVerify, PureRust, Rejected, Verified, jwt};
use portcullis_mesh_stand_in::fixtures::{first_page, put};
use portcullis_model::Reason;
use portcullis_model::state::SnapshotState;
use portcullis_protocol::snapshot::{public_key, sign_page, verify_page};
use portcullis_protocol::wire::{Record, RecordKind};
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use serde_json::{Map, Value, json};

pub const NOW: u64 = 1_800_000_000;
pub const ISSUER: &str = "https://idp.example";

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn snapshot(issuers: &[Value]) -> SnapshotState {
    snapshot_with(issuers, Vec::new())
}

/// The same with more records.
pub fn snapshot_with(issuers: &[Value], more: Vec<Record>) -> SnapshotState {
    let record = |document: &Value| {
        put(RecordKind::Issuer, document["issuer"].as_str().unwrap().as_bytes(), document.to_string())
    };
    let page = first_page(issuers.iter().map(record).chain(more).collect());
    let mut state = SnapshotState::default();
    let verified = verify_page(&sign_page(&page, [1; 32]), &public_key([1; 32]), b"", "gateway").unwrap();
    assert_eq!(state.apply(verified).unwrap().unreadable, Vec::<String>::new());
    state
}

pub fn issuer(algorithms: &[&str], keys: &Value) -> Value {
    json!({"issuer": ISSUER, "audiences": ["portcullis", "other"], "algorithms": algorithms, "jwks": {"keys": keys}})
}

pub fn claims() -> Map<String, Value> {
    json!({"iss": ISSUER, "sub": "ann", "tenant": "acme", "aud": "portcullis", "exp": NOW + 60, "iat": NOW,
           "scope": "a b", "roles": ["reader"], "azp": "web"})
    .as_object()
    .unwrap()
    .clone()
}

/// The usual claims with changes; null removes one.
pub fn changed(changes: &Value) -> Map<String, Value> {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.remove(name),
            value => claims.insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// An issuer's key: its JWK, and how it signs.
pub struct Signer {
    pub alg: &'static str,
    pub jwk: Value,
    pub sign: Box<dyn Fn(&str) -> String>,
}

impl Signer {
    /// Signs with jwt-simple, which sets claims of its own: the payload is ours all the same, because what
    /// is signed is the text.
    pub fn token(&self, claims: &Map<String, Value>) -> String {
        self.token_with(json!({"alg": self.alg, "kid": "k1", "typ": "JWT"}), claims)
    }

    pub fn token_with(&self, header: Value, claims: &Map<String, Value>) -> String {
        let signed =
            format!("{}.{}", b64(header.to_string()), b64(Value::Object(claims.clone()).to_string()));
        (self.sign)(&signed)
    }
}

pub fn ed25519() -> Signer {
    ed25519_of(9)
}

pub fn ed25519_of(seed: u8) -> Signer {
    let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([seed; 32]));
    Signer {
        alg: "EdDSA",
        jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": b64(*pair.pk)}),
        sign: Box::new(move |signed| format!("{signed}.{}", b64(*pair.sk.sign(signed.as_bytes(), None)))),
    }
}

/// The same with all that is known of the refusal.
pub fn rejected(state: &SnapshotState, token: &str) -> Result<Verified, Rejected> {
    jwt::verify(token.as_bytes(), state, &KeyRing::default(), &PureRust, NOW)
}

pub fn verify(state: &SnapshotState, token: &str) -> Result<Verified, Reason> {
    rejected(state, token).map_err(|why| why.reason)
}

/// The shared secret of the issuer, as the snapshot brings it.
pub fn secret(bytes: &[u8]) -> Record {
    Record { kind: RecordKind::IssuerSecret.into(), key: ISSUER.into(), value: bytes.into(), removed: false }
}

/// Something that is revoked.
pub fn revocation(name: &str) -> Record {
    Record { kind: RecordKind::Revocation.into(), key: name.into(), ..Record::default() }
}

/// Signs with a secret.
pub fn shared(alg: &'static str, secret: &[u8]) -> Signer {
    let secret = secret.to_vec();
    let sign = move |text: &str| match alg {
        "HS256" => mac::<Hmac<sha2::Sha256>>(&secret, text),
        "HS384" => mac::<Hmac<sha2::Sha384>>(&secret, text),
        _ => mac::<Hmac<sha2::Sha512>>(&secret, text),
    };
    let sign = Box::new(move |text: &str| format!("{text}.{}", b64(sign(text))));
    Signer { alg, jwk: Value::Null, sign }
}

fn mac<M: Mac + KeyInit>(secret: &[u8], text: &str) -> Vec<u8> {
    <M as KeyInit>::new_from_slice(secret).unwrap().chain_update(text).finalize().into_bytes().to_vec()
}

/// Signs with P-521.
pub fn p521() -> Signer {
    let key = p521::ecdsa::SigningKey::from_slice(&[&[0; 2][..], &[5; 64]].concat()).unwrap();
    let point = key.verifying_key().to_sec1_point(false);
    let (x, y) = (b64(point.x().unwrap()), b64(point.y().unwrap()));
    let sign = move |text: &str| {
        let signature: p521::ecdsa::Signature = key.sign(text.as_bytes());
        format!("{text}.{}", b64(signature.to_bytes()))
    };
    Signer {
        alg: "ES512",
        jwk: json!({"kty": "EC", "crv": "P-521", "kid": "k1", "x": x, "y": y}),
        sign: Box::new(sign),
    }
}

/// BoringSSL's arithmetic, as Envoy offers it.
pub struct Native;

impl NativeVerify for Native {
    fn verify(&self, hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        // The key within the SubjectPublicKeyInfo: an RSAPublicKey of 2048 bits, or a point of P-256.
        let (algorithm, key): (&dyn signature::VerificationAlgorithm, _) = match (key.len(), hash) {
            (294, "sha256") => (&signature::RSA_PKCS1_2048_8192_SHA256, &key[24..]),
            (294, "sha384") => (&signature::RSA_PKCS1_2048_8192_SHA384, &key[24..]),
            (294, "sha512") => (&signature::RSA_PKCS1_2048_8192_SHA512, &key[24..]),
            (91, "sha256") => (&signature::ECDSA_P256_SHA256_ASN1, &key[26..]),
            (len, _) => panic!("a key of {len} bytes with {hash}"),
        };
        Some(signature::UnparsedPublicKey::new(algorithm, key).verify(text, signature).is_ok())
    }
}

/// Signs with RSA: one key of 2048 bits for all algorithms, as it is costly to make.
pub fn rsa(alg: &'static str) -> Signer {
    static PAIR: std::sync::LazyLock<RsaKeyPair> = std::sync::LazyLock::new(|| {
        let made = jwt_simple::algorithms::RS256KeyPair::generate(2048).unwrap();
        RsaKeyPair::from_der(&made.to_der().unwrap())
            .or_else(|_| RsaKeyPair::from_pkcs8(&made.to_der().unwrap()))
            .unwrap()
    });
    let scheme: &dyn signature::RsaEncoding = match alg {
        "RS256" => &signature::RSA_PKCS1_SHA256,
        "RS384" => &signature::RSA_PKCS1_SHA384,
        "RS512" => &signature::RSA_PKCS1_SHA512,
        "PS256" => &signature::RSA_PSS_SHA256,
        "PS384" => &signature::RSA_PSS_SHA384,
        _ => &signature::RSA_PSS_SHA512,
    };
    let public = PAIR.public();
    let parts: signature::RsaPublicKeyComponents<Vec<u8>> = public.into();
    let sign = move |text: &str| {
        let mut signature = vec![0; PAIR.public().modulus_len()];
        PAIR.sign(scheme, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", b64(signature))
    };
    let jwk = json!({"kty": "RSA", "kid": "k1", "n": b64(parts.n), "e": b64(parts.e)});
    Signer { alg, jwk, sign: Box::new(sign) }
}

/// Signs with P-256 or P-384.
pub fn ec(alg: &'static str) -> Signer {
    let (curve, scheme) = match alg {
        "ES256" => ("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        _ => ("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
    };
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(scheme, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(scheme, made.as_ref(), &random).unwrap();
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "kid": "k1", "x": b64(x), "y": b64(y)});
    let sign =
        move |text: &str| format!("{text}.{}", b64(pair.sign(&random, text.as_bytes()).unwrap().as_ref()));
    Signer { alg, jwk, sign: Box::new(sign) }
}

/// Any JSON that a claim or a member of a header could be.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,5}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
