//! The world of the filter tests: the module in the test host, and a control service in a few lines.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

mod questions;

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_identity::{ClusterId, KeyId, Minter, Verifier};
use portcullis_model::decision::ClusterState;
use portcullis_protocol::audit::{keyed_hash, unhex};
use portcullis_protocol::snapshot::{public_key, sign_page};
use portcullis_protocol::wire::{
    self, AuditAck, AuditBatch, AuditRecord, Page, Record, RecordKind, SNAPSHOT_FORMAT,
};
use portcullis_testhost::{Answer, Host, HostBuilder, Module, Plugin, Request, Upstream};
use prost::Message;
#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use questions::{Provider, Questions};
use serde_json::{Value, json};

pub const UPSTREAM: &str = "outbound|9700||control.test";
pub const ISSUER: &str = "https://idp.test";
pub const NOW: u64 = 1_767_225_600;
const SEED: [u8; 32] = [1; 32];
const PEPPER: [u8; 32] = [2; 32];
const IDENTITY_SEED: [u8; 32] = [3; 32];
pub const API_KEY: &str = "pck_0001_secret";

/// The module, built now: a stale one cannot pass.
pub fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let built = Command::new(env!("CARGO"))
            .current_dir(root)
            .args([
                "build",
                "-q",
                "-p",
                "portcullis-proxy-wasm",
                "--target",
                "wasm32-wasip1",
                "--profile",
                "wasm",
            ])
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the module does not build");
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| format!("{root}/target"));
        Module::from_file(format!("{target}/wasm32-wasip1/wasm/portcullis.wasm")).expect("the module loads")
    })
}

pub fn config() -> Value {
    json!({"role": "edge", "domain": "platform.test",
           "snapshot": {"upstream": UPSTREAM, "key": STANDARD.encode(public_key(SEED))}})
}

pub fn plugin(name: &str, config: &Value) -> Plugin {
    Plugin::new(module())
        .name(name)
        .root_id(name)
        .config(config.to_string())
        .env("PORTCULLIS_MESH_TOKEN", "mesh-token")
}

/// An issuer's key and the tokens that it signs.
pub fn token(change: impl FnOnce(&mut Value)) -> String {
    sign(json!({"alg": "EdDSA", "kid": "i1"}), &claims(change))
}

/// The claims of a good token.
pub fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({"iss": ISSUER, "sub": "ann", "tenant": "acme", "aud": "portcullis",
                            "exp": NOW + 600, "iat": NOW, "client_id": "web", "roles": ["reader", "writer"]});
    change(&mut claims);
    claims
}

pub fn sign(header: Value, claims: &Value) -> String {
    sign_text(header.to_string(), claims.to_string())
}

/// A token with exactly these texts as header and payload.
pub fn sign_text(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = issuer_keys().sk.sign(signed.as_bytes(), None);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(*signature))
}

/// The public key of the issuer.
pub fn issuer_public_key() -> [u8; 32] {
    *issuer_keys().pk
}

fn issuer_keys() -> ed25519_compact::KeyPair {
    ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([4; 32]))
}

fn minter() -> Minter {
    Minter::new(IDENTITY_SEED, KeyId::new("g1").unwrap(), "https://platform.test", 60)
}

/// An identity token as a gateway forwards it.
pub fn identity_token(cluster: &str) -> String {
    identity_token_of(&portcullis_identity::testing::identity("ann", "acme"), cluster)
}

/// The same of anybody.
pub fn identity_token_of(identity: &portcullis_identity::Identity, cluster: &str) -> String {
    minter().mint(identity, &ClusterId::new(cluster).unwrap(), NOW).text
}

/// What a Data API of a cluster accepts.
pub fn verifier(cluster: &str) -> Verifier {
    let cluster = ClusterId::new(cluster).unwrap();
    Verifier::from_jwks(&minter().jwks().to_string(), "https://platform.test", cluster).unwrap()
}

/// The key under which the snapshot knows an API key.
pub fn api_key_digest(key: &str) -> [u8; 32] {
    keyed_hash(&PEPPER, key.as_bytes())
}

pub fn put(kind: RecordKind, key: &[u8], value: impl Into<Vec<u8>>) -> Record {
    Record { kind: kind.into(), key: key.to_vec(), value: value.into(), removed: false }
}

fn cluster(id: &str, tenant: &str, state: ClusterState) -> Record {
    let value = wire::Cluster { tenant: tenant.into(), state: state.code() };
    put(RecordKind::Cluster, id.as_bytes(), value.encode_to_vec())
}

/// The issuer of [`token`].
pub fn issuer_document() -> Record {
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "i1", "x": URL_SAFE_NO_PAD.encode(*issuer_keys().pk)});
    let issuer = json!({"issuer": ISSUER, "audiences": ["portcullis"], "algorithms": ["EdDSA"], "jwks": {"keys": [jwk]}});
    put(RecordKind::Issuer, ISSUER.as_bytes(), issuer.to_string())
}

fn first_records() -> Vec<Record> {
    let rules = json!({"rules": [
        {"name": "agents", "sourceType": "mcp_agent", "when": {"delegated": true}},
        {"name": "people", "sourceType": "human", "when": {"clientId": ["web"]}},
    ]});
    let signer = wire::IdentitySigner {
        key_id: "g1".into(),
        seed: IDENTITY_SEED.to_vec(),
        issuer: "https://platform.test".into(),
        lifetime_s: 60,
    };
    let key = wire::ApiKey {
        id: "0001".into(),
        tenant: "acme".into(),
        subject: "batch".into(),
        source_type: "worker".into(),
        ..wire::ApiKey::default()
    };
    vec![
        issuer_document(),
        put(RecordKind::SourceRules, b"", rules.to_string()),
        cluster("acme-1", "acme", ClusterState::Online),
        cluster("acme-degraded", "acme", ClusterState::Degraded),
        cluster("acme-pending", "acme", ClusterState::Pending),
        cluster("acme-offline", "acme", ClusterState::Offline),
        cluster("acme-suspended", "acme", ClusterState::Suspended),
        cluster("acme-retired", "acme", ClusterState::Retired),
        cluster("globex-1", "globex", ClusterState::Online),
        put(RecordKind::ApiKey, &api_key_digest(API_KEY), key.encode_to_vec()),
        put(RecordKind::IdentityKey, b"g1", minter().public_key()),
        put(RecordKind::IdentitySigner, b"", signer.encode_to_vec()),
        put(RecordKind::ApiKeyPepper, b"", PEPPER),
    ]
}

/// A host with the plugins and the control service behind it.
pub struct World {
    pub host: Host,
    pub records: Vec<AuditRecord>,
    pub acknowledge: bool,
    pub signing_seed: [u8; 32],
    revision: u64,
    changes: Vec<(u64, Record)>,
    /// What is asked about tokens and keys, and how it is answered.
    pub questions: Questions,
}

impl World {
    /// A world whose filters have not asked for anything yet.
    pub fn cold(plugins: Vec<Plugin>) -> Self {
        Self::cold_with(plugins, |builder| builder)
    }

    /// A world whose filters have the snapshot, with a host that is built in a special way.
    pub fn with(plugins: Vec<Plugin>, build: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        let mut world = Self::cold_with(plugins, build);
        world.settle();
        world
    }

    fn cold_with(plugins: Vec<Plugin>, build: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        let mut builder = build(Host::builder())
            .cluster(UPSTREAM, Upstream::manual())
            .property("node.id", "gw-1")
            .upstream(
                Answer::ok().header("x-portcullis-reason", "forged").header("x-kept", "yes").body("hello"),
            )
            .starts_at(NOW * 1_000_000_000);
        for plugin in plugins {
            builder = builder.plugin(plugin);
        }
        let host = builder.start().expect("the plugins start");
        let changes = first_records().into_iter().map(|r| (1, r)).collect();
        Self {
            host,
            records: Vec::new(),
            acknowledge: true,
            signing_seed: SEED,
            revision: 1,
            changes,
            questions: Questions::default(),
        }
    }

    /// A world whose filters have the snapshot.
    pub fn new(plugins: Vec<Plugin>) -> Self {
        let mut world = Self::cold(plugins);
        world.settle();
        world
    }

    /// The world of one `gateway` plugin.
    pub fn gateway() -> Self {
        Self::new(vec![plugin("gateway", &config())])
    }

    /// Lets 300 ms pass, with the control service answering.
    pub fn settle(&mut self) {
        for _ in 0..6 {
            self.host.advance(Duration::from_millis(50));
            self.answer_all();
        }
    }

    /// Changes the snapshot.
    pub fn change(&mut self, record: Record) {
        self.revision += 1;
        self.changes.push((self.revision, record));
        self.answer_all();
    }

    pub fn set_cluster(&mut self, id: &str, tenant: &str, state: ClusterState) {
        self.change(cluster(id, tenant, state));
    }

    pub fn revoke(&mut self, name: &str) {
        // Gateways get names, sidecars digests.
        let digest = portcullis_protocol::snapshot::revocation_digest(name);
        self.revision += 1;
        self.changes.push((self.revision, put(RecordKind::RevocationDigest, &digest, vec![])));
        self.change(put(RecordKind::Revocation, name.as_bytes(), vec![]));
    }

    /// Answers every call that has an answer now.
    pub fn answer_all(&mut self) {
        loop {
            let mut answered = false;
            for call in self.host.pending_calls(UPSTREAM) {
                let path = text(&call.request, ":path");
                assert_eq!(text(&call.request, "authorization"), "Bearer mesh-token");
                let body = call.request.body_bytes();
                let answer = match path.as_str() {
                    "/mesh/v1/audit" => self.take_records(&body),
                    "/mesh/v1/introspect" => self.questions.introspect(call.id, &body, self.signing_seed),
                    "/mesh/v1/keys/refresh" => self.questions.refresh(call.id, &body),
                    _ => self.page(&path),
                };
                if let Some(answer) = answer {
                    self.host.answer(call.id, answer);
                    answered = true;
                }
            }
            if !answered {
                return;
            }
        }
    }

    fn take_records(&mut self, body: &[u8]) -> Option<Answer> {
        if !self.acknowledge {
            return Some(Answer::status(503));
        }
        let batch = AuditBatch::decode(body).expect("a batch");
        self.records
            .extend(batch.records.iter().map(|r| AuditRecord::decode(r.as_slice()).expect("a record")));
        Some(Answer::ok().body(AuditAck { stored: 1, ..AuditAck::default() }.encode_to_vec()))
    }

    /// The page for a poll; none while there is no news.
    pub fn page(&self, path: &str) -> Option<Answer> {
        let query = |name: &str| {
            let pair = path.split(['?', '&']).find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
            pair.unwrap_or_else(|| panic!("{name} in {path}")).to_owned()
        };
        let fresh = query("generation").is_empty();
        let have: u64 = query("revision").parse().expect("a revision");
        if !fresh && have >= self.revision {
            return None;
        }
        let hidden = match query("view").starts_with("public:") {
            true => RecordKind::Revocation,
            false => RecordKind::RevocationDigest,
        };
        let page = Page {
            format: SNAPSHOT_FORMAT,
            nonce: unhex(&query("nonce")).expect("a nonce"),
            view: query("view"),
            generation: vec![9; 16],
            revision: self.revision,
            reset: fresh,
            records: self
                .changes
                .iter()
                .filter(|(r, change)| (fresh || *r > have) && change.kind != i32::from(hidden))
                .map(|(_, c)| c.clone())
                .collect(),
            ..Page::default()
        };
        Some(Answer::ok().body(sign_page(&page, self.signing_seed)))
    }

    /// All audit records of requests so far.
    pub fn records(&mut self) -> Vec<AuditRecord> {
        self.settle();
        self.records.clone()
    }
}

fn text(request: &Request, name: &str) -> String {
    let value = request.headers.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, v)| v.to_vec());
    String::from_utf8(value.unwrap_or_default()).expect("text")
}

/// A request of a person to a cluster by its path.
pub fn to(cluster: &str) -> Request {
    Request::get(&format!("/clusters/{cluster}/v1/items?secret=s")).authority("api.platform.test")
}

/// The same with a good token.
pub fn good(cluster: &str) -> Request {
    to(cluster).header("authorization", format!("Bearer {}", token(|_| ())))
}
