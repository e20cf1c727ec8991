//! The world of the filter tests: either target in the test host, and a stand-in for the mesh API.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

mod target;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_identity::{ClusterId, KeyId, Minter, Verifier};
use portcullis_mesh::paths;
#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use portcullis_mesh_stand_in::Provider;
use portcullis_mesh_stand_in::fixtures::{self, cluster};
#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use portcullis_mesh_stand_in::fixtures::{issuer_public_key, put};
use portcullis_mesh_stand_in::{Answer as Answered, Ask, MeshApi};
use portcullis_model::decision::ClusterState;
use portcullis_protocol::audit::keyed_hash;
use portcullis_protocol::snapshot::public_key;
use portcullis_protocol::wire::{self, AuditRecord, Record, RecordKind};
use portcullis_testhost::{Answer, Host, HostBuilder, Module, Request, Upstream};
use serde_json::{Value, json};
#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use target::{Plugin, Target, install, on, plugin, process, target};

pub const UPSTREAM: &str = "outbound|9700||control.test";
pub const ISSUER: &str = "https://idp.test";
pub const NOW: u64 = 1_767_225_600;
const SEED: [u8; 32] = [1; 32];
const PEPPER: [u8; 32] = [2; 32];
const IDENTITY_SEED: [u8; 32] = [3; 32];
pub const API_KEY: &str = "pck_0001_secret";

/// The module, built and optimised now, as it ships but for the names of functions: a stale one cannot pass.
pub fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        let built = build("portcullis-proxy-wasm", "portcullis.wasm");
        let optimised = portcullis_pack::optimised(&built, &paths::target());
        load(&optimised.unwrap_or_else(|error| panic!("{error}")))
    })
}

/// The module with the stage that reads bodies.
pub fn body_probe() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| load(&build("portcullis-body-probe", "portcullis_body_probe.wasm")))
}

/// Loads a module, with a profile where `FUEL_PROFILE` asks for one.
fn load(path: &Path) -> Module {
    let profiled = std::env::var_os("FUEL_PROFILE").is_some();
    let loaded = if profiled { Module::profiled(path) } else { Module::from_file(path) };
    loaded.expect("the module loads")
}

/// Where the compiler wrote it.
fn build(package: &str, file: &str) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .current_dir(paths::root())
        .args(["build", "-q", "-p", package, "--target", "wasm32-wasip1", "--profile", "wasm"])
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the module does not build");
    paths::target().join("wasm32-wasip1/wasm").join(file)
}

/// The configuration of a gateway.
pub fn config() -> Value {
    json!({"role": "edge", "domain": "platform.test",
           "snapshot": {"upstream": UPSTREAM, "key": STANDARD.encode(public_key(SEED))}})
}

/// That of a sidecar of a cluster.
pub fn sidecar_config(cluster: &str) -> Value {
    let mut config = config();
    config["role"] = json!("sidecar");
    config["cluster"] = json!(cluster);
    config
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
    fixtures::sign(header, claims)
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

/// The issuer of [`token`].
pub fn issuer_document() -> Record {
    fixtures::issuer(ISSUER, "portcullis", &["EdDSA"], &json!([fixtures::issuer_jwk()]))
}

fn first_records() -> Vec<Record> {
    let key = wire::ApiKey {
        id: "0001".into(),
        tenant: "acme".into(),
        subject: "batch".into(),
        source_type: "worker".into(),
        ..wire::ApiKey::default()
    };
    vec![
        issuer_document(),
        fixtures::source_rules(&json!([
            {"name": "agents", "sourceType": "mcp_agent", "when": {"delegated": true}},
            {"name": "people", "sourceType": "human", "when": {"clientId": ["web"]}},
        ])),
        cluster("acme-1", "acme", ClusterState::Online),
        cluster("acme-degraded", "acme", ClusterState::Degraded),
        cluster("acme-pending", "acme", ClusterState::Pending),
        cluster("acme-offline", "acme", ClusterState::Offline),
        cluster("acme-suspended", "acme", ClusterState::Suspended),
        cluster("acme-retired", "acme", ClusterState::Retired),
        cluster("globex-1", "globex", ClusterState::Online),
        fixtures::api_key(&PEPPER, API_KEY, &key),
        put(RecordKind::IdentityKey, b"g1", minter().public_key()),
        fixtures::identity_signer("g1", IDENTITY_SEED, "https://platform.test"),
        fixtures::pepper(PEPPER),
    ]
}

/// A host with the plugins and the control service behind it.
pub struct World {
    pub host: Host,
    /// The mesh API that the filters ask.
    pub api: MeshApi,
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
        let builder = Host::builder()
            .cluster(UPSTREAM, Upstream::manual())
            .property("node.id", "gw-1")
            .upstream(
                Answer::ok().header("x-portcullis-reason", "forged").header("x-kept", "yes").body("hello"),
            )
            .starts_at(NOW * 1_000_000_000);
        let host = install(build(builder), &plugins).start().expect("the plugins start");
        let mut api = MeshApi::new("mesh-token", SEED);
        api.store.replace(first_records());
        Self { host, api }
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
        self.api.store.change(vec![record]);
        self.answer_all();
    }

    pub fn set_cluster(&mut self, id: &str, tenant: &str, state: ClusterState) {
        self.change(cluster(id, tenant, state));
    }

    pub fn revoke(&mut self, name: &str) {
        // Gateways get names, sidecars digests.
        let digest = portcullis_protocol::snapshot::revocation_digest(name);
        self.api.store.change(vec![put(RecordKind::RevocationDigest, &digest, vec![])]);
        self.change(put(RecordKind::Revocation, name.as_bytes(), vec![]));
    }

    /// Answers every call that has an answer now.
    pub fn answer_all(&mut self) {
        loop {
            let mut answered = false;
            for call in self.host.pending_calls(UPSTREAM) {
                let (path, authorization) =
                    (text(&call.request, ":path"), text(&call.request, "authorization"));
                let body = call.request.body_bytes();
                let ask = Ask { call: call.id, path: &path, authorization: &authorization, body: &body };
                let answer = match self.api.answer(&ask) {
                    Answered::Wait => continue,
                    Answered::Body(body) => Answer::ok().body(body),
                    Answered::Status(status) => Answer::status(status),
                    Answered::Reset => Answer::reset(),
                };
                self.host.answer(call.id, answer);
                answered = true;
            }
            if !answered {
                return;
            }
        }
    }

    /// All audit records of requests so far.
    pub fn records(&mut self) -> Vec<AuditRecord> {
        self.settle();
        self.api.records.clone()
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
