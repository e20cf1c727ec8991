//! The world that is measured: issuer keys, tenants, identities, clusters, API keys, and their tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::RS256KeyPair;
use portcullis_identity::{ClusterId, KeyId, Minter};
use portcullis_mesh_stand_in::fixtures;
use portcullis_model::decision::ClusterState;
use portcullis_protocol::wire;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};

use crate::error::{BenchError, Result};

/// `iss` of the tokens.
pub(crate) const ISSUER: &str = "https://idp.bench.test";

/// `aud` of the tokens.
pub(crate) const AUDIENCE: &str = "portcullis";

/// `iss` of the identity tokens that the gateway mints.
pub(crate) const IDENTITY_ISSUER: &str = "https://platform.bench.test";

/// The name of the key that signs them.
const IDENTITY_KEY: &str = "bench";

/// Identities that present tokens; each has a tenant of its own.
pub(crate) const IDENTITIES: usize = 100;

/// Life of a token in seconds.
const LIFE_S: u64 = 86_400;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSASSA-PKCS1-v1_5, 2048 bits, SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
}

/// One request's worth of credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    /// The value of the `authorization` header.
    pub authorization: String,
    /// A cluster that its tenant owns.
    pub cluster: String,
}

/// A signature, and what it takes to verify it.
pub(crate) struct Signed {
    /// The key as a `SubjectPublicKeyInfo` (RFC 5280), DER.
    pub public_key: Vec<u8>,
    /// The signature, in the form of X.509.
    pub signature: Vec<u8>,
    /// What was signed.
    pub text: Vec<u8>,
}

/// Keys made at start, for this run alone.
pub(crate) struct World {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    random: SystemRandom,
    jwks: Value,
    pepper: [u8; 32],
    signer: [u8; 32],
    now_s: u64,
}

impl World {
    /// Makes the keys.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub(crate) fn new() -> Result<Self> {
        let failed = |what: &'static str| BenchError::invalid("anything", format!("{what} cannot be made"));
        let random = SystemRandom::new();
        let rs = RS256KeyPair::generate(2048).map_err(|_| failed("an RSA key"))?;
        let der = rs.to_der().map_err(|_| failed("an RSA key"))?;
        let rsa = RsaKeyPair::from_pkcs8(&der)
            .or_else(|_| RsaKeyPair::from_der(&der))
            .map_err(|_| failed("an RSA key"))?;
        let components = rs.public_key().to_components();
        let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(|_| failed("a P-256 key"))?;
        let ec =
            EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).map_err(|_| failed("a P-256 key"))?;
        let point = ec.public_key().as_ref();
        let coordinate = |range| point.get(range).map(|half| URL_SAFE_NO_PAD.encode(half));
        let jwks = json!({"keys": [
            {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "rs",
             "n": URL_SAFE_NO_PAD.encode(&components.n), "e": URL_SAFE_NO_PAD.encode(&components.e)},
            {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "es",
             "x": coordinate(1..33), "y": coordinate(33..65)},
        ]});
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { rsa, ec, random, jwks, pepper: [5; 32], signer: [6; 32], now_s: since.as_secs() })
    }

    /// The issuer's JSON Web Key Set.
    pub(crate) fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// A token of an identity that no other token equals: `number` becomes its `jti`.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub(crate) fn token(&self, algorithm: Algorithm, identity: usize, number: u64) -> Result<String> {
        let (alg, kid) = match algorithm {
            Algorithm::Rs256 => ("RS256", "rs"),
            Algorithm::Es256 => ("ES256", "es"),
        };
        let header = json!({"alg": alg, "typ": "JWT", "kid": kid});
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{identity:04}"), "tenant": tenant(identity),
            "roles": ["reader", "writer"], "scope": "data:read data:write", "client_id": "web",
            "iat": self.now_s - 60, "exp": self.now_s + LIFE_S, "jti": format!("{number:016x}"),
        });
        let mut text = fixtures::signing_input(header.to_string(), claims.to_string());
        let signature = self.sign(algorithm, text.as_bytes())?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(text)
    }

    /// The signed part of a token, its signature, and the key.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub(crate) fn signed(&self, algorithm: Algorithm) -> Result<Signed> {
        let token = self.token(algorithm, 0, 0)?;
        let (text, _) = token.rsplit_once('.').unwrap_or_default();
        let signature = self.sign(algorithm, text.as_bytes())?;
        let (head, key, signature) = match algorithm {
            Algorithm::Rs256 => (RSA_SPKI_HEAD, self.rsa.public().as_ref(), signature),
            Algorithm::Es256 => {
                let signature = portcullis_authn::der::ecdsa_signature(&signature, 32)
                    .ok_or_else(|| BenchError::invalid("anything", "a token cannot be signed"))?;
                (P256_SPKI_HEAD, self.ec.public_key().as_ref(), signature)
            }
        };
        Ok(Signed { public_key: [head, key].concat(), signature, text: text.as_bytes().to_vec() })
    }

    fn sign(&self, algorithm: Algorithm, text: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| BenchError::invalid("anything", "a token cannot be signed: no randomness");
        match algorithm {
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                let scheme = &signature::RSA_PKCS1_SHA256;
                self.rsa.sign(scheme, &self.random, text, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Algorithm::Es256 => self.ec.sign(&self.random, text).map(|s| s.as_ref().to_vec()).map_err(failed),
        }
    }

    /// `count` credentials with tokens that all differ, of the known identities in turn.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub(crate) fn tokens(&self, algorithm: Algorithm, count: usize) -> Result<Vec<Credential>> {
        (0..count)
            .map(|n| {
                let identity = n % IDENTITIES;
                let token = self.token(algorithm, identity, n as u64)?;
                Ok(Credential { authorization: format!("Bearer {token}"), cluster: cluster(identity) })
            })
            .collect()
    }

    fn minter(&self) -> Minter {
        Minter::new(self.signer, id(IDENTITY_KEY, KeyId::new), IDENTITY_ISSUER, 60)
    }

    /// The key set by which identity tokens are verified.
    pub(crate) fn identity_jwks(&self) -> Value {
        self.minter().jwks()
    }

    /// An identity token for [`cluster`] 0, as a bearer token. It is one of the future, so that it lasts
    /// as long as a run.
    pub(crate) fn identity_token(&self) -> Credential {
        let cluster = cluster(0);
        let identity = portcullis_identity::testing::identity("user-0000", &tenant(0));
        let minted = self.minter().mint(&identity, &id(&cluster, ClusterId::new), self.now_s + LIFE_S);
        Credential { authorization: format!("Bearer {}", minted.text), cluster }
    }

    /// The API key of a number. Its holder is the identity `number % IDENTITIES`.
    pub(crate) fn api_key(number: usize) -> Credential {
        Credential {
            authorization: format!("Bearer pck_{number:032x}"),
            cluster: cluster(number % IDENTITIES),
        }
    }

    /// The snapshot of these keys: the policy, `clusters` data clusters and `api_keys` keys.
    pub(crate) fn records(&self, clusters: usize, api_keys: usize) -> Vec<wire::Record> {
        let mut records = self.policy();
        records.extend((0..clusters).map(|n| cluster_record(n, ClusterState::Online)));
        records.extend((0..api_keys).map(|n| self.api_key_record(n)));
        records
    }

    fn policy(&self) -> Vec<wire::Record> {
        vec![
            fixtures::issuer(ISSUER, AUDIENCE, &["RS256", "ES256"], &self.jwks["keys"]),
            source_rules(),
            fixtures::identity_signer(IDENTITY_KEY, self.signer, IDENTITY_ISSUER),
            fixtures::pepper(self.pepper),
        ]
    }

    fn api_key_record(&self, number: usize) -> wire::Record {
        let credential = Self::api_key(number);
        let text = credential.authorization.trim_start_matches("Bearer ");
        let key = wire::ApiKey {
            id: format!("key-{number:06}"),
            tenant: tenant(number % IDENTITIES),
            subject: format!("svc-{number:06}"),
            source_type: "worker".into(),
            roles: vec!["reader".into()],
            scopes: vec!["data:read".into()],
            expires_at: 0,
        };
        fixtures::api_key(&self.pepper, text, &key)
    }
}

/// What precedes a PKCS #1 key of 2048 bits, with exponent 65537, in a `SubjectPublicKeyInfo`.
const RSA_SPKI_HEAD: &[u8] =
    b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00";

/// What precedes an uncompressed point of P-256.
const P256_SPKI_HEAD: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// The rule that makes every bearer of a token a person. Sent again, it makes filters judge every
/// credential again.
pub(crate) fn source_rules() -> wire::Record {
    fixtures::source_rules(&json!([
        {"name": "agents", "sourceType": "mcp_agent",
         "when": {"credential": ["jwt"], "claims": [{"claim": ["kind"], "anyOf": ["agent"]}]}},
        {"name": "people", "sourceType": "human", "when": {"credential": ["jwt"], "clientId": ["web"]}},
    ]))
}

/// A data cluster in a state.
pub(crate) fn cluster_record(number: usize, state: ClusterState) -> wire::Record {
    fixtures::cluster(&cluster(number), &tenant(number % IDENTITIES), state)
}

/// The id of a cluster; it belongs to the tenant of identity `number % IDENTITIES`.
pub(crate) fn cluster(number: usize) -> String {
    format!("cluster-{number:06}")
}

/// A name of this module as an id.
fn id<T, E: std::fmt::Debug>(name: &str, parse: impl FnOnce(&str) -> std::result::Result<T, E>) -> T {
    parse(name).expect("names of this module are ids")
}

fn tenant(identity: usize) -> String {
    format!("tenant-{identity:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_differs_and_names_its_identity() {
        let world = World::new().unwrap();
        let tokens = world.tokens(Algorithm::Es256, 2 * IDENTITIES).unwrap();
        let mut seen: Vec<_> = tokens.iter().map(|t| &t.authorization).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), tokens.len());
        assert_eq!(tokens[3].cluster, tokens[3 + IDENTITIES].cluster);
    }

    #[test]
    fn a_signature_is_given_in_the_form_of_x509() {
        let world = World::new().unwrap();
        let es = world.signed(Algorithm::Es256).unwrap();
        let point = &es.public_key[P256_SPKI_HEAD.len()..];
        let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point);
        key.verify(&es.text, &es.signature).unwrap();
        let rs = world.signed(Algorithm::Rs256).unwrap();
        assert_eq!(rs.public_key.len(), 0x122 + 4);
        let pkcs1 = &rs.public_key[RSA_SPKI_HEAD.len()..];
        let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, pkcs1);
        key.verify(&rs.text, &rs.signature).unwrap();
    }

    #[test]
    fn a_token_verifies_by_the_published_keys() {
        let world = World::new().unwrap();
        let token = world.token(Algorithm::Rs256, 1, 1).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let part =
            |name: &str| URL_SAFE_NO_PAD.decode(world.jwks["keys"][0][name].as_str().unwrap()).unwrap();
        let key = signature::RsaPublicKeyComponents { n: part("n"), e: part("e") };
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).unwrap();
    }
}
