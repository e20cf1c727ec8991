//! Service tokens, delegation, shared secrets, and what is revoked, through the whole module.

mod world;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::audit::keyed_hash;
use portcullis_core::wire::RecordKind;
use portcullis_testhost::{Exchange, Request};
use serde_json::{Value, json};
use world::{API_KEY, ISSUER, NOW, World, claims, config, plugin, put, sign, to, token};

const SERVICE: &str = "https://platform.test/oauth2";

fn bearer(token: &str) -> Request {
    to("acme-1").header("authorization", format!("Bearer {token}"))
}

fn assert_refused(exchange: &Exchange, status: u16, reason: &str) {
    exchange.assert_refused(status);
    exchange.assert_response_header("x-portcullis-reason", reason);
}

/// An issuer with the key of the usual one.
fn issuer(name: &str, change: impl FnOnce(&mut Value)) -> portcullis_core::wire::Record {
    let mut document: Value = serde_json::from_slice(&world::issuer_document().value).unwrap();
    document["issuer"] = json!(name);
    change(&mut document);
    put(RecordKind::Issuer, name.as_bytes(), document.to_string())
}

fn service_world() -> World {
    let mut world = World::gateway();
    world.change(issuer(SERVICE, |d| {
        d["credential"] = json!("service_token");
        d["tokenTypes"] = json!(["at+jwt"]);
    }));
    let rules = json!({"rules": [
        {"name": "agents", "sourceType": "mcp_agent", "when": {"credential": ["service_token"], "delegated": true}},
        {"name": "services", "sourceType": "worker", "when": {"credential": ["service_token"]}},
        {"name": "people", "sourceType": "human", "when": {"credential": ["jwt"], "delegated": false}},
    ]});
    world.change(put(RecordKind::SourceRules, b"", rules.to_string()));
    world
}

fn service_token(change: impl FnOnce(&mut Value)) -> String {
    let claims = claims(|c| {
        c["iss"] = json!(SERVICE);
        c["sub"] = json!("billing");
        change(c);
    });
    sign(json!({"alg": "EdDSA", "kid": "i1", "typ": "at+jwt"}), &claims)
}

#[test]
fn a_service_token_is_a_credential_of_its_own_kind() {
    let mut world = service_world();
    let exchange = world.host.request(bearer(&service_token(|_| ())));
    exchange
        .assert_status(200)
        .assert_upstream_header("x-portcullis-subject", "billing")
        .assert_upstream_header("x-portcullis-source-type", "worker");
    assert_eq!(world.records()[0].credential, "service_token");
}

#[test]
fn an_agent_that_acts_for_a_person_is_an_agent_with_the_person_as_subject() {
    let mut world = service_world();
    let token = service_token(|c| {
        c["sub"] = json!("ann");
        c["act"] = json!({"sub": "agent-7", "act": {"sub": "planner"}});
    });
    let exchange = world.host.request(bearer(&token));
    exchange.assert_status(200).assert_upstream_header("x-portcullis-source-type", "mcp_agent");
    let header = exchange.assert_forwarded().header("x-portcullis-identity").unwrap().to_owned();
    let caller = world::verifier("acme-1").verify(&header, NOW).unwrap();
    let actors: Vec<_> = caller.actors.iter().map(|a| a.as_str()).collect();
    assert_eq!((caller.subject.as_str(), actors), ("ann", vec!["agent-7", "planner"]));
    let record = &world.records()[0];
    assert_eq!((record.subject.as_str(), record.source_type.as_str()), ("ann", "mcp_agent"));
    assert_eq!(record.actors, ["agent-7", "planner"]);
    // The same claims of another issuer are no service token: no rule fits.
    let other = world::token(|c| c["act"] = json!({"sub": "agent-7"}));
    assert_refused(&world.host.request(bearer(&other)), 403, "source_type_unknown");
    for act in [json!("agent"), json!({}), json!([{"sub": "a"}]), json!({"sub": "a", "act": {"x": 1}})] {
        let token = service_token(|c| c["act"] = act);
        assert_refused(&world.host.request(bearer(&token)), 401, "claim_invalid");
    }
    let mut chain = json!({"sub": "a"});
    for _ in 0..8 {
        chain = json!({"sub": "a", "act": chain});
    }
    let token = service_token(|c| c["act"] = chain);
    assert_refused(&world.host.request(bearer(&token)), 401, "claim_invalid");
}

#[test]
fn an_issuer_with_a_shared_secret_works_and_a_new_secret_replaces_the_old_one() {
    let mut world = World::gateway();
    let name = "https://shared.test";
    world.change(issuer(name, |d| {
        d["algorithms"] = json!(["HS256"]);
        d["jwks"] = json!({"keys": []});
    }));
    let signed = |secret: &[u8]| {
        let part = |v: Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let text = format!("{}.{}", part(json!({"alg": "HS256"})), part(claims(|c| c["iss"] = json!(name))));
        let mac = keyed_hash(secret, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac))
    };
    assert_refused(&world.host.request(bearer(&signed(&[1; 32]))), 401, "key_unknown");
    world.change(put(RecordKind::IssuerSecret, name.as_bytes(), vec![1; 32]));
    world.host.request(bearer(&signed(&[1; 32]))).assert_status(200);
    assert_refused(&world.host.request(bearer(&signed(&[2; 32]))), 401, "signature_invalid");
    world.change(put(RecordKind::IssuerSecret, name.as_bytes(), vec![2; 32]));
    assert_refused(&world.host.request(bearer(&signed(&[1; 32]))), 401, "signature_invalid");
    world.host.request(bearer(&signed(&[2; 32]))).assert_status(200);
    let told = format!("{:?}", world.host.logs());
    assert!(!told.contains("\\u{1}") && !told.contains("Secret"), "{told}");
}

#[test]
fn what_is_revoked_is_refused_at_once_although_it_was_kept() {
    let token = token(|c| {
        c["jti"] = json!("j-1");
        c["sid"] = json!("s-1");
        c["act"] = json!({"sub": "agent"});
    });
    for name in ["jti:j-1", "sid:s-1", "sub:ann", "kid:i1", "client:web"] {
        let mut world = World::gateway();
        world.host.request(bearer(&token)).assert_status(200);
        world.revoke("jti:another");
        world.host.request(bearer(&token)).assert_status(200);
        world.revoke(name);
        assert_refused(&world.host.request(bearer(&token)), 401, "credential_revoked");
    }
    for name in ["kid:0001", "sub:batch"] {
        let mut world = World::gateway();
        let request = || to("acme-1").header("x-api-key", API_KEY);
        world.host.request(request()).assert_status(200);
        world.revoke(name);
        assert_refused(&world.host.request(request()), 401, "credential_revoked");
    }
}

#[test]
fn a_withdrawn_key_or_issuer_stops_at_once() {
    let mut world = World::gateway();
    let good = || bearer(&token(|_| ()));
    world.host.request(good()).assert_status(200);
    world.change(issuer(ISSUER, |d| d["jwks"]["keys"] = json!([])));
    let refused = world.host.request(good());
    world.host.advance(std::time::Duration::from_millis(1_100));
    assert_refused(&refused, 401, "key_unknown");
    let mut gone = put(RecordKind::Issuer, ISSUER.as_bytes(), vec![]);
    gone.removed = true;
    world.change(gone);
    assert_refused(&world.host.request(good()), 401, "issuer_unknown");
}

#[test]
fn the_source_type_alone_at_a_sidecar_refuses_whom_no_rule_fits() {
    let mut config = config();
    config["role"] = json!("sidecar");
    config["cluster"] = json!("acme-1");
    config["workload"] = json!(true);
    let mut world = World::new(vec![plugin("source-type", &config)]);
    let peer = "spiffe://cluster.local/ns/a/sa/b";
    let workloads = json!({"workloads": [{"spiffeId": peer, "tenant": "acme", "roles": ["mcp"]}]});
    world.change(put(RecordKind::Workloads, b"", workloads.to_string()));
    assert_refused(&world.host.request(Request::get("/").peer(peer)), 403, "source_type_unknown");
    let rules = json!({"rules": [{"name": "mcp", "sourceType": "mcp_agent", "when": {"role": ["mcp"]}}]});
    world.change(put(RecordKind::SourceRules, b"", rules.to_string()));
    let exchange =
        world.host.request(Request::get("/").peer(peer).header("x-portcullis-source-type", "human"));
    exchange.assert_status(200).assert_upstream_header("x-portcullis-source-type", "mcp_agent");
    assert_refused(&world.host.request(Request::get("/")), 401, "identity_missing");
}
