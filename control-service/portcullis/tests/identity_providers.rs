//! The page about identity providers: every configuration on it is loaded, and tokens of that provider's shape are
//! judged by it, with the filters' own code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use portcullis_control_config::Config;
use portcullis_control_services::judge::{self, Unjudged};
use portcullis_identity::Principal;
use portcullis_mesh_stand_in::fixtures::{first_page, put};
use portcullis_model::Reason;
use portcullis_model::policy::{Algorithm, Jwks};
use portcullis_protocol::wire::RecordKind;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use serde_json::{Map, Value, json};

const PAGE: &str = include_str!("../../../docs/identity-providers.md");
const NOW: u64 = 1_800_000_000;

/// A provider without a configuration: the page says why.
const NOT_TAKEN: &str = "AWS Application Load Balancer";

/// Everything but issuers.
const BASE: &str = "
listeners: {mesh: '127.0.0.1:0', platform: '127.0.0.1:0', operations: '127.0.0.1:0'}
store: {dataDir: data}
mesh: {tokenFile: mesh-token, gateways: ['spiffe://cluster.local/ns/istio-system/sa/ingressgateway']}
identity: {issuer: 'https://platform.example/identity'}
issuers:
";

/// The blocks of the page by their headings.
fn blocks() -> BTreeMap<&'static str, &'static str> {
    let sections = PAGE.split("\n## ").skip(1).filter_map(|section| {
        let (heading, rest) = section.split_once('\n')?;
        let (_, block) = rest.split_once("```yaml\n")?;
        Some((heading, block.split_once("```")?.0))
    });
    sections.collect()
}

fn corpus() -> Vec<(String, Vec<Value>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/field/providers");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        (value["provider"].as_str().unwrap().to_owned(), value["cases"].as_array().unwrap().clone())
    };
    files.iter().map(read).collect()
}

/// The configuration of a block.
fn load(block: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (file, content) in [
        ("mesh-token", "0123456789abcdef0123"),
        ("kubernetes-token", "a-token"),
        ("kubernetes-ca.pem", &made.cert.pem()),
        ("introspection-secret", "a-secret"),
    ] {
        std::fs::write(folder.path().join(file), content).unwrap();
    }
    let indented: String = block.lines().flat_map(|line| ["  ", line, "\n"]).collect();
    Config::parse(&folder.path().join("control.yaml"), &[BASE, &indented].concat()).unwrap()
}

struct Keys {
    rsa: RsaKeyPair,
    rsa_jwk: Value,
    ec: EcdsaKeyPair,
    ec_jwk: Value,
}

/// One key of each kind, made once: an RSA key takes a while.
fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    KEYS.get_or_init(|| {
        let pair = RS256KeyPair::generate(2048).unwrap();
        let parts = pair.public_key().to_components();
        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let point = ec.public_key().as_ref().to_vec();
        Keys {
            rsa: RsaKeyPair::from_pkcs8(&pair.to_der().unwrap()).unwrap(),
            rsa_jwk: json!({"kty": "RSA", "kid": "k", "n": b64(&parts.n), "e": b64(&parts.e)}),
            ec_jwk: json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": b64(&point[1..33]), "y": b64(&point[33..])}),
            ec,
        }
    })
}

fn sign(algorithm: Algorithm, text: &str) -> String {
    let random = SystemRandom::new();
    let signature = match algorithm {
        Algorithm::ES256 => keys().ec.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
        _ => {
            let mut signature = vec![0; keys().rsa.public().modulus_len()];
            keys().rsa.sign(&signature::RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
            signature
        }
    };
    [text, ".", &URL_SAFE_NO_PAD.encode(signature)].concat()
}

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// A case's token, by the first algorithm of the issuers.
fn token(algorithm: Algorithm, case: &Value) -> String {
    let mut header = members(&json!({"alg": algorithm.as_str(), "kid": "k"}));
    header.extend(members(&case["header"]));
    let mut claims = members(&json!({"iat": NOW - 10, "exp": NOW + 3600}));
    claims.extend(members(&case["claims"]));
    let part = |members: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(members).to_string());
    sign(algorithm, &[part(header), part(claims)].join("."))
}

/// What a gateway says of a case's token.
fn verdict(config: &Config, case: &Value) -> Result<Principal, Reason> {
    verdict_about(config, case, &token(config.policy.issuers[0].algorithms[0], case))
}

/// What it says of another token, by a configuration whose issuers have the test's key as the case has it.
fn verdict_about(config: &Config, case: &Value, token: &str) -> Result<Principal, Reason> {
    let algorithm = config.policy.issuers[0].algorithms[0];
    let mut jwk = if algorithm == Algorithm::ES256 { keys().ec_jwk.clone() } else { keys().rsa_jwk.clone() };
    jwk.as_object_mut().unwrap().extend(members(&case["jwk"]));
    let jwks: Jwks = serde_json::from_value(json!({ "keys": [jwk] })).unwrap();
    let record = |issuer: &portcullis_control_config::IssuerConfig| {
        let document = serde_json::to_vec(&issuer.document(jwks.clone(), false)).unwrap();
        put(RecordKind::Issuer, issuer.issuer.as_str().as_bytes(), document)
    };
    let page = first_page(config.policy.issuers.iter().map(record).collect());
    let snapshot = judge::open(&page, [1; 32]).unwrap();
    judge::token(token, &snapshot, NOW, None).map(|verified| verified.principal).map_err(|unjudged| {
        match unjudged {
            Unjudged::Refused(why) => why.reason,
            Unjudged::Asks(provider) => panic!("{provider} is to be asked"),
        }
    })
}

/// What is told of a principal, for those members that a case names.
fn told(principal: &Principal, wanted: &Map<String, Value>) -> Map<String, Value> {
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let one = |name: &str| match name {
        "issuer" => text(principal.issuer.as_ref().map(|i| i.as_str())),
        "subject" => text(Some(principal.subject.as_str())),
        "tenant" => text(Some(principal.tenant.as_str())),
        "client" => text(principal.client_id.as_ref().map(|c| c.as_str())),
        "roles" => principal.roles.iter().map(|r| r.as_str()).collect(),
        "scopes" => principal.scopes.iter().map(|s| s.as_str()).collect(),
        "incomplete" => principal.roles_incomplete.into(),
        other => panic!("a case asks for {other:?}"),
    };
    wanted.keys().map(|name| (name.clone(), one(name))).collect()
}

#[test]
fn every_configuration_of_the_page_is_loaded_and_judges_tokens_of_its_provider() {
    let blocks = blocks();
    let (mut tried, mut failures) = (BTreeSet::new(), Vec::new());
    for (provider, cases) in corpus() {
        let block = blocks.get(&*provider).unwrap_or_else(|| panic!("the page has no block for {provider}"));
        let config = load(block);
        for case in &cases {
            let name = format!("{provider}: {}", case["name"]);
            match (verdict(&config, case), case["refused"].as_str()) {
                (Err(reason), Some(wanted)) if reason.code() == wanted => {}
                (Ok(principal), None) => {
                    let wanted = members(&case["is"]);
                    let told = told(&principal, &wanted);
                    if told != wanted || wanted.is_empty() {
                        failures.push(format!("{name}: {told:?}"));
                    }
                }
                (verdict, _) => failures.push(format!("{name}: {:?}", verdict.map(|p| p.subject))),
            }
        }
        let good = cases.iter().any(|case| case["is"].is_object());
        assert!(good, "{provider} has no token that is taken");
        tried.insert(provider);
    }
    assert_eq!(failures, Vec::<String>::new());
    let shown: BTreeSet<String> = blocks.into_keys().map(str::to_owned).collect();
    assert_eq!(tried, shown, "every block is tried");
    assert!(PAGE.contains(&["\n## ", NOT_TAKEN, "\n**Not taken**"].concat()) && !tried.contains(NOT_TAKEN));
}

#[test]
fn no_provider_takes_claims_under_the_signature_of_others() {
    for (provider, cases) in corpus() {
        let config = load(blocks()[&*provider]);
        let algorithm = config.policy.issuers[0].algorithms[0];
        let mut other = cases[0].clone();
        other["claims"]["x"] = json!(1);
        let (good, changed) = (token(algorithm, &cases[0]), token(algorithm, &other));
        let (_, signature) = good.rsplit_once('.').unwrap();
        let (text, _) = changed.rsplit_once('.').unwrap();
        let forged = [text, ".", signature].concat();
        assert_eq!(
            verdict_about(&config, &cases[0], &forged).err(),
            Some(Reason::SignatureInvalid),
            "{provider}"
        );
    }
}
