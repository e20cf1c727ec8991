//! Attacks on authentication, each with a name, through the module as it is shipped: none may reach a data
//! cluster, none may stop the next good request, and each has its reason. The same attacks go through the native
//! module in the real Envoy.

mod attack_cases;
mod world;

use std::collections::HashSet;
use std::time::Duration;

#[cfg(feature = "slow")]
use attack_cases::envoy::Gateway;
use attack_cases::{Attack, claims, forms, hosts, keys, places};
use portcullis_protocol::wire::RecordKind;
use serde_json::{Value, json};

on_both! {
    forms_of_tokens,
    keys_and_algorithms,
    claims_and_times,
    places_and_headers,
    hosts_of_the_platform,
}
use world::{ISSUER, World, config, good, plugin, put};

/// What `pluginConfig` says where everything is on that could be attacked.
fn everything_on() -> Value {
    let mut config = config();
    config["tokens"] =
        json!({"headers": [{"name": "x-token"}], "cookie": "session", "query": "access_token"});
    config["workload"] = json!(true);
    config["platformPaths"] = json!(true);
    config["platformHosts"] = json!([{"name": "admin", "paths": ["/v1/"]}]);
    config["resource"] = json!({"url": "https://api.platform.test", "challenge": "always"});
    config
}

/// A gateway of that kind.
fn world() -> World {
    let mut world = World::new(vec![plugin("gateway", &everything_on())]);
    let provider = json!({"name": "as", "issuer": "https://as.test", "tokenPrefix": "op_", "audiences": ["portcullis"],
        "activeSeconds": 30, "inactiveSeconds": 10});
    world.change(put(RecordKind::Introspection, b"as", provider.to_string()));
    let usual: Value = serde_json::from_slice(&world::issuer_document().value).unwrap();
    for (name, algorithms, keys) in [
        (keys::RSA_ISSUER, json!(["RS256", "PS256"]), json!([keys::rsa_jwk()])),
        (keys::EC_ISSUER, json!(["ES256"]), json!([keys::ec_jwk()])),
        (keys::MIXED_ISSUER, json!(["EdDSA", "HS256"]), usual["jwks"]["keys"].clone()),
        (keys::ODD_ISSUER, json!(["EdDSA", "ES256", "RS256"]), keys::odd_keys()),
    ] {
        let document = json!({"issuer": name, "audiences": ["portcullis"], "algorithms": algorithms, "jwks": {"keys": keys}});
        world.change(put(RecordKind::Issuer, name.as_bytes(), document.to_string()));
    }
    world.change(put(RecordKind::IssuerSecret, keys::MIXED_ISSUER.as_bytes(), world::issuer_public_key()));
    world.change(put(RecordKind::IssuerSecret, ISSUER.as_bytes(), world::issuer_public_key()));
    world.api.questions.refresh = Some(204);
    world
}

fn run(attacks: Vec<Attack>) {
    let mut world = world();
    let mut failed = Vec::new();
    for attack in attacks {
        let exchange = world.host.request(attack.request);
        world.answer_all();
        if exchange.is_paused() {
            world.host.advance(Duration::from_millis(2_300));
        }
        let seen = exchange.response();
        let reason = seen.as_ref().and_then(|s| s.header("x-portcullis-reason")).unwrap_or("none").to_owned();
        let status = exchange.status().unwrap_or_default();
        if exchange.upstream().is_some() || (status, reason.as_str()) != (attack.status, attack.reason) {
            failed.push(format!(
                "{}: {status} {reason}, expected {} {}",
                attack.name, attack.status, attack.reason
            ));
        }
        if let Some(failure) = world.host.vms().into_iter().find_map(|vm| vm.failure) {
            panic!("{}: a VM died: {failure}", attack.name);
        }
        world.settle();
    }
    world.host.request(good("acme-1")).assert_status(200);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn forms_of_tokens() {
    run(forms::attacks());
}

fn keys_and_algorithms() {
    run(keys::attacks());
}

fn claims_and_times() {
    run(claims::attacks());
}

fn places_and_headers() {
    run(places::attacks());
}

fn hosts_of_the_platform() {
    run(hosts::attacks());
}

fn all() -> Vec<Attack> {
    [forms::attacks(), keys::attacks(), claims::attacks(), places::attacks(), hosts::attacks()].concat()
}

/// Attacks that Envoy's own codec answers, with 400, before the module sees them.
#[cfg(feature = "slow")]
const REFUSED_BY_THE_CODEC: [&str; 2] = ["a control character", "a parameter behind the fragment"];

#[cfg(feature = "slow")]
#[tokio::test]
async fn every_attack_ends_the_same_at_a_native_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&everything_on(), world().api, dir.path()).await;
    let all = all();
    // A mutual-TLS peer needs the mesh: the scenario has such rows.
    let without_peer = |attack: &&Attack| attack.request.headers.get(":scheme") != Some("https");
    let (mut tried, mut failed) = (0, Vec::new());
    for attack in all.iter().filter(without_peer) {
        let codec = REFUSED_BY_THE_CODEC.contains(&attack.name);
        let expected = if codec { (400, "") } else { (attack.status, attack.reason) };
        let (status, reason) = gateway.send(&attack.request).await;
        if (status, reason.as_str()) != expected {
            failed.push(format!("{}: {status} {reason}, expected {expected:?}", attack.name));
        }
        tried += 1;
    }
    assert!(failed.is_empty(), "{} of {tried}:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(gateway.send(&good("acme-1")).await.0, 200, "a good request still passes");
    assert!(tried >= 120, "only {tried} cases");
}

#[test]
fn the_suite_has_many_cases_and_no_name_twice() {
    let all = all();
    let names: HashSet<&str> = all.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), all.len(), "a name stands twice");
    assert!(all.len() >= 120, "only {} cases", all.len());
}
