//! Issuers, keys and tokens that the targets share.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_authn::NativeVerify;
use portcullis_mesh_stand_in::fixtures::{first_page, put};
use portcullis_model::state::SnapshotState;
use portcullis_protocol::snapshot::{public_key, sign_page, verify_page};
use portcullis_protocol::wire::RecordKind;
use ring::rand::SystemRandom;
use ring::signature::{
    self, EcdsaKeyPair, KeyPair as _, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents, VerificationAlgorithm,
};
use serde_json::{Map, Value, json};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://idp.example";
pub(crate) const AUDIENCE: &str = "portcullis";

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `snapshot.key` of a plugin's configuration.
pub(crate) fn snapshot_key() -> String {
    STANDARD.encode(public_key([1; 32]))
}

/// The snapshot of one issuer.
pub(crate) fn state(issuer: &Value) -> Option<SnapshotState> {
    let page = first_page(vec![put(RecordKind::Issuer, ISSUER.as_bytes(), issuer.to_string())]);
    let mut state = SnapshotState::default();
    let verified = verify_page(&sign_page(&page, [1; 32]), &public_key([1; 32]), b"", "gateway");
    let applied = state.apply(verified.expect("signed a moment ago")).expect("the first page");
    applied.unreadable.is_empty().then_some(state)
}

pub(crate) fn document(signer: &Signer) -> Value {
    json!({"issuer": ISSUER, "audiences": [AUDIENCE, "other"], "algorithms": [signer.alg],
           "jwks": {"keys": [signer.jwk]}})
}

pub(crate) fn claims() -> Map<String, Value> {
    json!({"iss": ISSUER, "sub": "ann", "tenant": "acme", "aud": AUDIENCE, "exp": NOW + 60, "iat": NOW,
           "scope": "a b", "roles": ["reader"], "azp": "web"})
    .as_object()
    .cloned()
    .unwrap_or_default()
}

pub(crate) struct Signer {
    pub(crate) alg: &'static str,
    pub(crate) jwk: Value,
    sign: Sign,
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

impl Signer {
    /// A token, and a signature that is as long as a good one.
    pub(crate) fn token(&self, header: &str, claims: &str) -> (String, Vec<u8>) {
        let text = format!("{}.{}", b64(header), b64(claims));
        let signature = (self.sign)(text.as_bytes());
        (text, signature)
    }
}

/// How many there are.
pub(crate) const SIGNERS_LEN: u8 = 6;

thread_local! {
    /// What only Rust verifies (EdDSA, PS), and what the proxy can.
    pub(crate) static SIGNERS: [Signer; SIGNERS_LEN as usize] = [
        ed25519(),
        p256(),
        rsa("RS256", &signature::RSA_PKCS1_SHA256),
        rsa("PS256", &signature::RSA_PSS_SHA256),
        rsa("RS512", &signature::RSA_PKCS1_SHA512),
        rsa("PS384", &signature::RSA_PSS_SHA384),
    ];
}

/// One key for all algorithms. It is kept, and signs nothing else: to make one takes longer than libFuzzer gives an input.
static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::from_pkcs8(include_bytes!("rsa-2048.pk8")).expect("an RSA key"));

fn rsa(alg: &'static str, scheme: &'static dyn RsaEncoding) -> Signer {
    let parts: RsaPublicKeyComponents<Vec<u8>> = RSA.public().into();
    let jwk = json!({"kty": "RSA", "kid": "k1", "n": b64(parts.n), "e": b64(parts.e)});
    let sign = move |text: &[u8]| {
        let mut signature = vec![0; RSA.public().modulus_len()];
        RSA.sign(scheme, &SystemRandom::new(), text, &mut signature).expect("randomness");
        signature
    };
    Signer { alg, jwk, sign: Box::new(sign) }
}

fn ed25519() -> Signer {
    let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([9; 32]));
    Signer {
        alg: "EdDSA",
        jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": b64(*pair.pk)}),
        sign: Box::new(move |text| pair.sk.sign(text, None).to_vec()),
    }
}

fn p256() -> Signer {
    let (random, scheme) = (SystemRandom::new(), &signature::ECDSA_P256_SHA256_FIXED_SIGNING);
    let made = EcdsaKeyPair::generate_pkcs8(scheme, &random).expect("randomness");
    let pair = EcdsaKeyPair::from_pkcs8(scheme, made.as_ref(), &random).expect("made a moment ago");
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": b64(x), "y": b64(y)});
    let sign = move |text: &[u8]| pair.sign(&random, text).expect("randomness").as_ref().to_vec();
    Signer { alg: "ES256", jwk, sign: Box::new(sign) }
}

/// The proxy's arithmetic: BoringSSL's.
pub(crate) struct Native;

impl NativeVerify for Native {
    fn verify(&self, hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        // The point, or the RSAPublicKey, within the SubjectPublicKeyInfo.
        let (algorithm, key): (&dyn VerificationAlgorithm, _) = match (hash, key.len()) {
            ("sha256", 91) => (&signature::ECDSA_P256_SHA256_ASN1, &key[26..]),
            ("sha256", 294) => (&signature::RSA_PKCS1_2048_8192_SHA256, &key[24..]),
            ("sha512", 294) => (&signature::RSA_PKCS1_2048_8192_SHA512, &key[24..]),
            other => panic!("no key that a proxy verifies here: {other:?}"),
        };
        Some(signature::UnparsedPublicKey::new(algorithm, key).verify(text, signature).is_ok())
    }
}
