//! What a snapshot of a test is made of, and the tokens that fit it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_compact::{KeyPair, Seed};
use portcullis_model::decision::ClusterState;
use portcullis_protocol::audit::keyed_hash;
use portcullis_protocol::wire::{self, Page, Record, RecordKind, SNAPSHOT_FORMAT};
use prost::Message;
use serde_json::{Value, json};

/// Seed of the key by which [`sign`] signs tokens.
const ISSUER_SEED: [u8; 32] = [4; 32];

/// The first page that a gateway is sent, which is the whole snapshot.
#[must_use]
pub fn first_page(records: Vec<Record>) -> Page {
    Page {
        format: SNAPSHOT_FORMAT,
        view: "gateway".into(),
        generation: vec![1; 16],
        revision: 1,
        reset: true,
        records,
        ..Page::default()
    }
}

/// An entry of the snapshot.
#[must_use]
pub fn put(kind: RecordKind, key: &[u8], value: impl Into<Vec<u8>>) -> Record {
    Record { kind: kind.into(), key: key.to_vec(), value: value.into(), removed: false }
}

/// A data cluster.
#[must_use]
pub fn cluster(id: &str, tenant: &str, state: ClusterState) -> Record {
    let value = wire::Cluster { tenant: tenant.into(), state: state.code() };
    put(RecordKind::Cluster, id.as_bytes(), value.encode_to_vec())
}

/// An issuer that is called so in `iss`, with what its document says beside that.
#[must_use]
pub fn issuer(name: &str, audience: &str, algorithms: &[&str], keys: &Value) -> Record {
    let document = json!({
        "issuer": name, "audiences": [audience], "algorithms": algorithms, "jwks": {"keys": keys},
    });
    put(RecordKind::Issuer, name.as_bytes(), document.to_string())
}

/// The rules by which who asks is a person, a worker or an agent.
#[must_use]
pub fn source_rules(rules: &Value) -> Record {
    put(RecordKind::SourceRules, b"", json!({"rules": rules}).to_string())
}

/// What a gateway signs identity tokens by, which last a minute.
#[must_use]
pub fn identity_signer(key_id: &str, seed: [u8; 32], issuer: &str) -> Record {
    let signer = wire::IdentitySigner {
        key_id: key_id.into(),
        seed: seed.to_vec(),
        issuer: issuer.into(),
        lifetime_s: 60,
    };
    put(RecordKind::IdentitySigner, b"", signer.encode_to_vec())
}

/// The key under which API keys are known.
#[must_use]
pub fn pepper(pepper: [u8; 32]) -> Record {
    put(RecordKind::ApiKeyPepper, b"", pepper)
}

/// An API key with this text.
#[must_use]
pub fn api_key(pepper: &[u8; 32], text: &str, key: &wire::ApiKey) -> Record {
    put(RecordKind::ApiKey, &keyed_hash(pepper, text.as_bytes()), key.encode_to_vec())
}

/// Header and payload of a token as they are signed.
#[must_use]
pub fn signing_input(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// A token with exactly these texts as header and payload, signed by the key of [`issuer_jwk`].
#[must_use]
pub fn sign(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    let signed = signing_input(header, claims);
    let signature = issuer_keys().sk.sign(signed.as_bytes(), None);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(*signature))
}

/// The public key by which tokens of [`sign`] verify.
#[must_use]
pub fn issuer_public_key() -> [u8; 32] {
    *issuer_keys().pk
}

/// The same as a JSON Web Key of the name `i1`.
#[must_use]
pub fn issuer_jwk() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": "i1", "x": URL_SAFE_NO_PAD.encode(issuer_public_key())})
}

fn issuer_keys() -> KeyPair {
    KeyPair::from_seed(Seed::new(ISSUER_SEED))
}
