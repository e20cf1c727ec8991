//! Service tokens, delegation, shared secrets, and what is revoked, through the whole module.

mod world;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use jwt_simple::algorithms::RS256KeyPair;
use portcullis_protocol::audit::keyed_hash;
use portcullis_protocol::wire::{ApiKey, RecordKind};
use portcullis_testhost::{Exchange, Request};
use prost::Message;
use serde_json::{Value, json};

on_both! {
    roles_that_were_left_out_show_in_a_header_a_claim_and_the_record,
    a_service_token_is_a_credential_of_its_own_kind,
    an_agent_that_acts_for_a_person_is_an_agent_with_the_person_as_subject,
    an_issuer_with_a_shared_secret_works_and_a_new_secret_replaces_the_old_one,
    an_api_key_ends_when_it_was_made_to_end,
    the_overlap_of_a_rotation_ends_for_the_old_key_alone,
    forged_tokens_neither_enter_the_cache_nor_push_a_good_one_out,
    what_is_revoked_is_refused_at_once_although_it_was_kept,
    a_withdrawn_key_or_issuer_stops_at_once,
    the_source_type_alone_at_a_sidecar_refuses_whom_no_rule_fits,
    a_refused_credential_that_is_known_says_in_the_record_whose_it_is,
    a_person_is_revoked_by_tenant_issuer_and_subject_and_nobody_else_of_that_name,
}
use world::{
    API_KEY, ISSUER, NOW, Target, World, claims, plugin, put, sidecar_config, sign, target, to, token,
    verifier,
};

const SERVICE: &str = "https://platform.test/oauth2";

fn bearer(token: &str) -> Request {
    to("acme-1").header("authorization", format!("Bearer {token}"))
}

fn assert_refused(exchange: &Exchange, status: u16, reason: &str) {
    exchange.assert_refused(status);
    exchange.assert_response_header("x-portcullis-reason", reason);
}

/// An issuer with the key of the usual one.
fn issuer(name: &str, change: impl FnOnce(&mut Value)) -> portcullis_protocol::wire::Record {
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

fn a_service_token_is_a_credential_of_its_own_kind() {
    let mut world = service_world();
    let exchange = world.host.request(bearer(&service_token(|_| ())));
    exchange
        .assert_status(200)
        .assert_upstream_header("x-portcullis-subject", "billing")
        .assert_upstream_header("x-portcullis-source-type", "worker");
    assert_eq!(world.records()[0].credential, "service_token");
}

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

/// Puts an API key into the snapshot; returns a request with it.
fn key_that_ends(world: &mut World, id: &str, ends_at: u64) -> Request {
    let text = format!("pck_{id}_secret");
    let key = ApiKey {
        id: id.into(),
        tenant: "acme".into(),
        subject: "batch".into(),
        source_type: "worker".into(),
        expires_at: ends_at,
        ..ApiKey::default()
    };
    world.change(put(RecordKind::ApiKey, &world::api_key_digest(&text), key.encode_to_vec()));
    to("acme-1").header("x-api-key", &text)
}

fn an_api_key_ends_when_it_was_made_to_end() {
    let mut world = World::gateway();
    let kept = key_that_ends(&mut world, "0002", NOW + 5);
    let unused = key_that_ends(&mut world, "0003", NOW + 5);
    let lasting = key_that_ends(&mut world, "0004", NOW + 600);
    for request in [&kept, &kept, &lasting] {
        world.host.request(request.clone()).assert_status(200);
    }
    world.host.advance(Duration::from_secs(6));
    world.answer_all();
    for request in [kept, unused] {
        assert_refused(&world.host.request(request), 401, "token_expired");
    }
    world.host.request(lasting).assert_status(200);
}

/// In a rotation the old key goes on for a while beside the new one.
fn the_overlap_of_a_rotation_ends_for_the_old_key_alone() {
    let mut world = World::gateway();
    let lasts = |request: &Request, world: &mut World| world.host.request(request.clone()).status();
    let old = key_that_ends(&mut world, "0005", NOW + 600);
    assert_eq!(lasts(&old, &mut world), Some(200));
    let same = key_that_ends(&mut world, "0005", NOW + 5);
    let new = key_that_ends(&mut world, "0006", NOW + 600);
    assert_eq!((lasts(&same, &mut world), lasts(&new, &mut world)), (Some(200), Some(200)));
    world.host.advance(Duration::from_secs(6));
    world.answer_all();
    assert_refused(&world.host.request(old), 401, "token_expired");
    assert_eq!(lasts(&new, &mut world), Some(200));
}

fn forged_tokens_neither_enter_the_cache_nor_push_a_good_one_out() {
    const FORGED: usize = 10_500;
    let pair = RS256KeyPair::generate(2048).unwrap();
    let parts = pair.public_key().to_components();
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "RSA", "kid": "r1", "n": b64(&parts.n), "e": b64(&parts.e)});
    let name = "https://rsa.test";
    let mut world = World::gateway();
    world.change(issuer(name, |d| {
        d["algorithms"] = json!(["RS256"]);
        d["jwks"] = json!({"keys": [jwk]});
    }));
    let text = |id: usize| {
        let claims = claims(|c| {
            c["iss"] = json!(name);
            c["jti"] = json!(format!("id-{id:05}"));
        });
        format!("{}.{}", b64(br#"{"alg":"RS256","kid":"r1"}"#), b64(claims.to_string().as_bytes()))
    };
    let signing = EncodingKey::from_rsa_pem(pair.to_pem().unwrap().as_bytes()).unwrap();
    let first = text(0);
    let signature = jsonwebtoken::crypto::sign(first.as_bytes(), &signing, Algorithm::RS256).unwrap();
    let good = format!("{first}.{signature}");
    // How often the proxy was asked to verify; native code does it by itself.
    let asked = usize::from(target() == Target::Wasm);
    let verified = |exchange: &Exchange| format!("{}", exchange.trace()).matches("verify_signature").count();
    let exchange = world.host.request(bearer(&good));
    assert_eq!((exchange.assert_status(200).status(), verified(&exchange)), (Some(200), asked));
    let mut memory = Vec::new();
    for id in 1..=FORGED {
        // The good signature, under claims that it was not made for.
        let exchange = world.host.request(bearer(&format!("{}.{signature}", text(id))));
        assert_refused(&exchange, 401, "signature_invalid");
        if id % 500 == 0 {
            assert_eq!(verified(&exchange), asked, "each one is looked at");
            world.settle();
            world.host.clear_history();
            memory.push(world.host.vms().iter().map(|vm| vm.memory_bytes).sum::<usize>());
        }
    }
    let again = world.host.request(bearer(&good));
    again.assert_status(200);
    assert_eq!(verified(&again), 0, "the identity was kept all the while");
    world.settle();
    let hits = world.host.metrics().counter("portcullis_filter_identity_cache_hits_total");
    assert_eq!(hits, 1, "the identity was kept all the while");
    // What waits for delivery comes and goes; nothing of a forged token stays.
    assert_eq!(memory.iter().skip(1).max(), memory.get(1), "{memory:?}");
}

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

fn the_source_type_alone_at_a_sidecar_refuses_whom_no_rule_fits() {
    let mut config = sidecar_config("acme-1");
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

fn roles_that_were_left_out_show_in_a_header_a_claim_and_the_record() {
    let mut world = World::gateway();
    let some = token(|claims| claims["roles"] = json!(["reader", "Data Editors"]));
    let to_cluster = |token: &str| to("acme-1").header("authorization", format!("Bearer {token}"));
    let exchange = world.host.request(to_cluster(&some));
    exchange.assert_upstream_header("x-portcullis-roles", "reader");
    exchange.assert_upstream_header("x-portcullis-roles-incomplete", "true");
    let seen = exchange.assert_forwarded();
    let forwarded = verifier("acme-1").verify(seen.header("x-portcullis-identity").unwrap(), NOW).unwrap();
    assert!(forwarded.roles_incomplete);
    let all =
        world.host.request(to_cluster(&token(|_| ())).header("x-portcullis-roles-incomplete", "forged"));
    all.assert_no_upstream_header("x-portcullis-roles-incomplete");
    // The same person with the same roles, as far as they can be seen: no identity token is shared with the first.
    let partly = world.host.request(to_cluster(&token(|c| c["_claim_names"] = json!({"roles": "src1"}))));
    let seen = partly.assert_upstream_header("x-portcullis-roles-incomplete", "true").upstream().unwrap();
    let minted = seen.header("x-portcullis-identity").unwrap();
    assert!(verifier("acme-1").verify(minted, NOW).unwrap().roles_incomplete);
    assert_eq!(world.records().iter().map(|record| record.omitted).collect::<Vec<_>>(), [1, 0, 0]);
}

fn a_refused_credential_that_is_known_says_in_the_record_whose_it_is() {
    let mut world = World::gateway();
    let odd = |name: &str, value: Value| bearer(&token(|c| c[name] = value));
    let forged = format!("{}.AAAA", token(|c| c["tenant"] = json!([1])).rsplit_once('.').unwrap().0);
    let ended = key_that_ends(&mut world, "0002", NOW + 5);
    world.revoke("jti:gone");
    world.host.advance(Duration::from_secs(6));
    world.answer_all();
    let (person, key) = (("ann", "acme", ISSUER, "i1"), ("batch", "acme", "", "0002"));
    for (request, reason, claim, whose) in [
        (odd("tenant", json!(["secret-value"])), "claim_invalid", "tenant", ("ann", "", ISSUER, "i1")),
        (odd("sub", json!("secret value")), "claim_invalid", "sub", ("", "acme", ISSUER, "i1")),
        (odd("aud", json!("other")), "audience_mismatch", "", person),
        (odd("exp", json!(NOW - 60)), "token_expired", "", person),
        (odd("jti", json!("gone")), "credential_revoked", "", person),
        (bearer(&forged), "signature_invalid", "", ("", "", "", "")),
        (ended, "token_expired", "", key),
    ] {
        assert_refused(&world.host.request(request), 401, reason);
        world.settle();
        let record = world.records().pop().unwrap();
        assert_eq!((record.reason.as_str(), record.claim.as_str()), (reason, claim));
        let seen = (&*record.subject, &*record.tenant, &*record.issuer, &*record.key_id);
        assert_eq!(seen, whose, "{reason} {claim}");
        assert_eq!(record.source_type, "", "nobody has told it");
    }
    // The log names issuer and claim, and at most one a second; no value is anywhere.
    let logs = format!("{:?}", world.host.logs());
    assert!(logs.contains(&format!("a token of {ISSUER} is refused for its claim tenant")), "{logs}");
    assert!(!logs.contains("secret") && !format!("{:?}", world.records()).contains("secret-value"));
    let told = logs.matches("is refused for its claim").count();
    for _ in 0..20 {
        assert_refused(&world.host.request(odd("tenant", json!(7))), 401, "claim_invalid");
    }
    assert!(format!("{:?}", world.host.logs()).matches("is refused for its claim").count() <= told + 1);
}

fn a_person_is_revoked_by_tenant_issuer_and_subject_and_nobody_else_of_that_name() {
    let ann = bearer(&token(|_| ()));
    for (name, refused) in [
        (format!("user:acme {ISSUER} ann"), true),
        (format!("user:globex {ISSUER} ann"), false),
        ("user:acme https://other.test ann".to_owned(), false),
        ("user:acme - ann".to_owned(), false),
        (format!("user:acme {ISSUER} ann2"), false),
        ("sub:ann".to_owned(), true),
    ] {
        let mut world = World::gateway();
        world.host.request(ann.clone()).assert_status(200);
        world.revoke(&name);
        let exchange = world.host.request(ann.clone());
        assert_eq!(exchange.status(), Some(if refused { 401 } else { 200 }), "{name}");
    }
    let mut world = World::gateway();
    world.revoke("user:acme - batch");
    assert_refused(&world.host.request(to("acme-1").header("x-api-key", API_KEY)), 401, "credential_revoked");
    // A sidecar knows the same of an identity token.
    let mut world = World::new(vec![plugin("gateway", &sidecar_config("acme-1"))]);
    let forwarded = || Request::get("/").header("x-portcullis-identity", world::identity_token("acme-1"));
    world.host.request(forwarded()).assert_status(200);
    let of = verifier("acme-1").verify(&world::identity_token("acme-1"), NOW).unwrap();
    let issuer = of.credential_issuer.as_ref().map_or("-", |issuer| issuer.as_str());
    world.revoke(&format!("user:{} {issuer} {}", of.tenant, of.subject));
    assert_refused(&world.host.request(forwarded()), 401, "credential_revoked");
}
