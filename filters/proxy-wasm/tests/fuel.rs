//! What a request burns, by kind of credential: units of fuel, about one per Wasm instruction, the same on
//! every machine. Each kind has a budget, so that nobody makes the gateway slower without saying so here.
//!
//! `cargo test -p portcullis-proxy-wasm --test fuel -- --nocapture` prints the table, and with `FUEL_PROFILE=1` in the
//! environment for each kind the functions that burn most.

mod burnt;
mod world;

use portcullis_protocol::wire::RecordKind;
use portcullis_testhost::Request;
use serde_json::{Value, json};
use world::{API_KEY, NOW, World, claims, config, identity_token, plugin, put, sidecar_config, sign, to};

/// A kind of request, its status, and the units that it may burn in all callbacks together.
struct Kind {
    name: &'static str,
    status: u16,
    budget: u64,
    world: fn() -> World,
    request: fn() -> Request,
}

const KINDS: [Kind; 11] = [
    Kind { name: "jwt_plain", status: 200, budget: 15_250, world: gateway, request: plain },
    Kind { name: "with_body", status: 200, budget: 16_550, world: gateway, request: with_body },
    Kind { name: "jwt", status: 200, budget: 17_400, world: gateway, request: jwt },
    Kind { name: "api_key", status: 200, budget: 14_950, world: gateway, request: api_key },
    Kind { name: "oauth_token", status: 200, budget: 15_750, world: provider, request: opaque },
    Kind { name: "workload", status: 200, budget: 18_650, world: workloads, request: workload },
    Kind { name: "identity_token", status: 200, budget: 15_600, world: sidecar, request: forwarded },
    Kind { name: "no_credential", status: 401, budget: 16_700, world: gateway, request: nothing },
    Kind { name: "suspended", status: 403, budget: 23_300, world: gateway, request: suspended },
    Kind { name: "forged_jwt", status: 401, budget: 5_450_000, world: gateway, request: forged },
    Kind { name: "unknown_api_key", status: 401, budget: 40_900, world: gateway, request: unknown_key },
];

/// A request with the headers that a browser sends and that Envoy adds.
fn usual(cluster: &str) -> Request {
    to(cluster)
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "application/json, text/plain, */*")
        .header("accept-encoding", "gzip, deflate, br")
        .header("x-forwarded-for", "192.0.2.7")
        .header("x-forwarded-proto", "https")
        .header("x-envoy-external-address", "192.0.2.7")
        .header("x-request-id", "7f1c3b9a-52a4-4c8e-9a55-0f6f3f2f7c11")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .property("source.address", "192.0.2.7:40000")
}

/// A token as long as one that RSA signed.
fn long_token(change: impl FnOnce(&mut Value)) -> String {
    let claims = claims(|claims| {
        claims["padding"] = json!("x".repeat(190));
        claims["jti"] = json!("2b6c1f0e-7d1f-4a55-8a53-2f8f0b4f1c77");
        change(claims);
    });
    sign(json!({"alg": "EdDSA", "kid": "i1", "typ": "at+jwt"}), &claims)
}

fn bearer(token: &str) -> Request {
    usual("acme-1").header("authorization", format!("Bearer {token}"))
}

/// A client that sends what it must and no more.
fn plain() -> Request {
    world::good("acme-1")
}

/// The same with a body in three pieces, which no stage wants to see.
fn with_body() -> Request {
    world::good("acme-1").chunk([b'x'; 4_000]).chunk([b'x'; 4_000]).chunk([b'x'; 4_000])
}

fn jwt() -> Request {
    bearer(&long_token(|_| ()))
}

fn forged() -> Request {
    let mut token = long_token(|_| ());
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    token.replace_range(token.len() - 5..token.len() - 4, &last.to_string());
    bearer(&token)
}

fn suspended() -> Request {
    let token = format!("Bearer {}", long_token(|_| ()));
    usual("acme-suspended").header("authorization", token)
}

fn api_key() -> Request {
    usual("acme-1").header("x-api-key", API_KEY)
}

fn unknown_key() -> Request {
    usual("acme-1").header("x-api-key", "pck_0002_secret")
}

fn nothing() -> Request {
    usual("acme-1")
}

fn opaque() -> Request {
    bearer("op_good")
}

fn workload() -> Request {
    usual("acme-1").peer("spiffe://cluster.local/ns/jobs/sa/batch")
}

fn forwarded() -> Request {
    usual("acme-1").header("x-portcullis-identity", identity_token("acme-1"))
}

fn gateway() -> World {
    World::gateway()
}

fn sidecar() -> World {
    World::new(vec![plugin("gateway", &sidecar_config("acme-1"))])
}

fn provider() -> World {
    let mut world = World::gateway();
    let document = json!({"name": "as", "issuer": "https://as.test", "tokenPrefix": "op_",
        "audiences": ["portcullis"], "activeSeconds": 30, "inactiveSeconds": 10});
    world.change(put(RecordKind::Introspection, b"as", document.to_string()));
    let claims = json!({"active": true, "sub": "ann", "tenant": "acme", "aud": "portcullis",
        "client_id": "web", "exp": NOW + 600});
    world.api.questions.tokens.insert("op_good".into(), claims);
    world.host.request(opaque());
    world.settle();
    world
}

fn workloads() -> World {
    let mut config = config();
    config["workload"] = json!(true);
    let mut world = World::new(vec![plugin("gateway", &config)]);
    let spiffe = "spiffe://cluster.local/ns/jobs/sa/batch";
    let workloads = json!({"workloads": [{"spiffeId": spiffe, "tenant": "acme"}]});
    world.change(put(RecordKind::Workloads, b"", workloads.to_string()));
    let rules = json!({"rules": [
        {"name": "jobs", "sourceType": "worker", "when": {"credential": ["workload"]}}]});
    world.change(put(RecordKind::SourceRules, b"", rules.to_string()));
    world
}

/// Units a request, callback by callback.
fn measure(kind: &Kind) -> burnt::Burnt {
    let mut world = (kind.world)();
    let send = |world: &mut World| {
        let exchange = world.host.request((kind.request)());
        assert!(exchange.is_over(), "{}: {exchange}", kind.name);
        exchange.assert_status(kind.status);
    };
    burnt::a_request(&mut world, send)
}

/// Those that use most, where the module is profiled.
fn print_functions(functions: burnt::ByName) {
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by_key(|(_, units)| std::cmp::Reverse(*units));
    for (name, units) in functions.iter().take(40) {
        println!("{units:>24}  {:#}", rustc_demangle::demangle(name));
    }
}

#[test]
fn every_kind_of_request_stays_within_its_budget() {
    let mut over = Vec::new();
    for kind in &KINDS {
        let burnt::Burnt { callbacks, functions } = measure(kind);
        let total: u64 = callbacks.values().sum();
        println!("{:<16} {total:>7} of {:>7}  {callbacks:?}", kind.name, kind.budget);
        print_functions(functions);
        if total > kind.budget {
            over.push(format!("{}: {total} of {}", kind.name, kind.budget));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}
