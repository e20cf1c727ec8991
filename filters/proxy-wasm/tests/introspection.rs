//! Opaque access tokens: asked about once, refused when in doubt, kept within bounds.

mod world;

use std::time::Duration;

use portcullis_protocol::wire::{Record, RecordKind};
use portcullis_testhost::{Exchange, Request};
use serde_json::{Value, json};

on_both! {
    an_active_token_gets_through_and_is_asked_about_once,
    what_another_provider_of_the_same_name_said_does_not_count,
    a_secret_of_the_control_service_is_shown_to_no_provider,
    a_provider_vouches_for_its_own_tenants_only,
    an_inactive_token_is_refused_and_remembered_for_a_while,
    many_requests_with_one_token_wait_for_one_answer,
    a_client_that_leaves_does_not_take_the_answer_with_it,
    every_failure_refuses_and_nothing_of_it_is_remembered,
    failures_are_logged_once_a_second,
    silence_refuses_after_two_seconds,
    questions_under_way_are_bounded,
    one_source_cannot_take_every_place,
    one_source_cannot_hold_every_waiting_request,
    bad_tokens_do_not_push_good_ones_out,
    the_answer_is_judged_like_claims,
    a_token_ends_with_its_exp_although_the_answer_would_be_fresh,
    a_provider_that_wants_to_be_asked_each_time_is,
    the_decision_is_taken_again_after_the_wait,
    revocation_reaches_tokens_that_are_kept,
    what_looks_like_a_jws_is_never_asked_about,
    no_provider_fits_no_question_is_asked,
    the_chain_of_plugins_waits_too,
    a_jwt_of_an_issuer_that_wants_it_is_asked_about_once_it_is_verified,
    what_a_provider_says_of_a_jwt_can_only_take_away,
}
use world::{NOW, Provider, World, config, plugin, put, to};

const AUTHORITY: &str = "https://as.test";

fn provider(change: impl FnOnce(&mut Value)) -> portcullis_protocol::wire::Record {
    let mut document = json!({"name": "as", "issuer": AUTHORITY, "tokenPrefix": "op_", "audiences": ["portcullis"],
        "activeSeconds": 30, "inactiveSeconds": 10});
    change(&mut document);
    put(RecordKind::Introspection, b"as", document.to_string())
}

fn world() -> World {
    world_with(|_| ())
}

fn world_with(change: impl FnOnce(&mut Value)) -> World {
    let mut world = World::gateway();
    world.change(provider(change));
    let claims = json!({"active": true, "sub": "ann", "tenant": "acme", "aud": "portcullis", "client_id": "web",
        "exp": NOW + 600, "sid": "s-1", "jti": "t-1", "scope": "read"});
    world.api.questions.tokens.insert("op_good".into(), claims);
    world
}

fn bearer(token: &str) -> Request {
    to("acme-1").header("authorization", format!("Bearer {token}"))
}

/// The same from an address that ends with this number.
fn bearer_from(address: u8, token: &str) -> Request {
    bearer(token).property("source.address", format!("192.0.2.{address}:40000"))
}

fn ask(world: &mut World, token: &str) -> Exchange {
    let exchange = world.host.request(bearer(token));
    world.answer_all();
    exchange
}

fn assert_refused(exchange: &Exchange, status: u16, reason: &str) {
    let seen = exchange.assert_refused(status);
    exchange.assert_response_header("x-portcullis-reason", reason);
    assert_eq!(seen.header("retry-after").is_some(), status == 503, "{seen:?}");
}

fn an_active_token_gets_through_and_is_asked_about_once() {
    let mut world = world();
    let exchange = ask(&mut world, "op_good");
    exchange
        .assert_status(200)
        .assert_upstream_header("x-portcullis-subject", "ann")
        .assert_upstream_header("x-portcullis-source-type", "human")
        .assert_no_upstream_header("authorization");
    let header = exchange.assert_forwarded().header("x-portcullis-identity").unwrap().to_owned();
    let caller = world::verifier("acme-1").verify(&header, NOW).unwrap();
    assert_eq!(caller.credential.as_str(), "oauth_token");
    ask(&mut world, "op_good").assert_status(200);
    assert_eq!(world.api.questions.asked.len(), 1);
    assert_eq!(
        (world.api.questions.asked[0].provider.as_str(), world.api.questions.asked[0].nonce.len()),
        ("as", 16)
    );
    // Asked again when that is due, and no later than the token ends.
    for _ in 0..6 {
        world.host.advance(Duration::from_secs(5));
        world.answer_all();
    }
    ask(&mut world, "op_good").assert_status(200);
    assert_eq!(world.api.questions.asked.len(), 2);
    let told = format!("{:?} {:?}", world.records(), world.host.logs());
    assert!(!told.contains("op_good"), "the token is told in {told}");
}

fn what_another_provider_of_the_same_name_said_does_not_count() {
    let mut world = world_with(|p| p["configDigest"] = json!("aa"));
    ask(&mut world, "op_good").assert_status(200);
    assert_refused(&ask(&mut world, "op_bad"), 401, "token_inactive");
    assert_eq!(world.api.questions.asked.len(), 2);
    // The name stays, and behind it stands somebody else, who knows the one token and not the other.
    let claims = world.api.questions.tokens.remove("op_good").unwrap();
    world.api.questions.tokens.insert("op_bad".into(), claims);
    world.change(provider(|p| p["configDigest"] = json!("bb")));
    assert_refused(&ask(&mut world, "op_good"), 401, "token_inactive");
    ask(&mut world, "op_bad").assert_status(200);
    assert_eq!(world.api.questions.asked.len(), 4);
}

fn a_secret_of_the_control_service_is_shown_to_no_provider() {
    // A provider without a prefix is asked about everything that is opaque.
    let mut world = world_with(|p| p["tokenPrefix"] = json!(""));
    for prefix in ["pca_", "pcc_", "pcs_", "pcj_"] {
        assert_refused(&ask(&mut world, &[prefix, "00_11"].concat()), 401, "credential_unsupported");
    }
    assert!(world.api.questions.asked.is_empty());
    ask(&mut world, "op_good").assert_status(200);
}

fn a_provider_vouches_for_its_own_tenants_only() {
    let mut world = world_with(|p| p["tenants"] = json!(["globex"]));
    assert_refused(&ask(&mut world, "op_good"), 401, "tenant_not_allowed");
    world.change(provider(|p| p["tenants"] = json!(["globex", "acme"])));
    ask(&mut world, "op_good").assert_status(200);
}

fn an_inactive_token_is_refused_and_remembered_for_a_while() {
    let mut world = world();
    assert_refused(&ask(&mut world, "op_bad"), 401, "token_inactive");
    assert_refused(&ask(&mut world, "op_bad"), 401, "token_inactive");
    assert_eq!(world.api.questions.asked.len(), 1);
    world.host.advance(Duration::from_secs(11));
    world.answer_all();
    world.api.questions.tokens.insert("op_bad".into(), world.api.questions.tokens["op_good"].clone());
    ask(&mut world, "op_bad").assert_status(200);
}

fn many_requests_with_one_token_wait_for_one_answer() {
    let mut world = world();
    let waiting: Vec<_> = (0..50).map(|_| world.host.request(bearer("op_good"))).collect();
    waiting.iter().for_each(|exchange| {
        exchange.assert_paused();
    });
    world.answer_all();
    for exchange in &waiting {
        exchange.assert_status(200);
    }
    assert_eq!(world.api.questions.asked.len(), 1);
}

fn a_client_that_leaves_does_not_take_the_answer_with_it() {
    let mut world = world();
    let first = world.host.request(bearer("op_good").stay_open());
    let second = world.host.request(bearer("op_good"));
    world.host.disconnect(&first);
    world.answer_all();
    second.assert_status(200);
    assert_eq!(world.api.questions.asked.len(), 1);
}

fn every_failure_refuses_and_nothing_of_it_is_remembered() {
    for provider in [
        Provider::Fails(404),
        Provider::Fails(429),
        Provider::Fails(500),
        Provider::Fails(204),
        Provider::Resets,
        Provider::Forged,
        Provider::Replayed,
        Provider::Garbage,
    ] {
        let mut world = world();
        world.api.questions.provider = provider.clone();
        let waiting = [world.host.request(bearer("op_good")), world.host.request(bearer("op_good"))];
        world.answer_all();
        for exchange in &waiting {
            assert_refused(exchange, 503, "introspection_unavailable");
        }
        world.api.questions.provider = Provider::Honest;
        ask(&mut world, "op_good").assert_status(200);
    }
}

fn failures_are_logged_once_a_second() {
    let mut world = world();
    world.api.questions.provider = Provider::Fails(500);
    let warnings = |world: &World| {
        world.host.logs().iter().filter(|line| line.to_string().contains("introspection by")).count()
    };
    for n in 0..5 {
        ask(&mut world, &format!("op_{n}"));
    }
    assert_eq!(warnings(&world), 1);
    world.host.advance(Duration::from_millis(1_000));
    ask(&mut world, "op_more");
    assert_eq!(warnings(&world), 2);
}

fn silence_refuses_after_two_seconds() {
    let mut world = world();
    world.api.questions.provider = Provider::Silent;
    let exchange = ask(&mut world, "op_good");
    world.host.advance(Duration::from_millis(1_900));
    exchange.assert_paused();
    world.host.advance(Duration::from_millis(400));
    assert_refused(&exchange, 503, "introspection_unavailable");
}

fn questions_under_way_are_bounded() {
    let mut world = world();
    world.api.questions.provider = Provider::Silent;
    let waiting: Vec<_> = (0..64).map(|n| world.host.request(bearer_from(n, &format!("op_{n}")))).collect();
    assert_refused(&world.host.request(bearer_from(99, "op_more")), 503, "introspection_busy");
    world.host.request(world::good("acme-1")).assert_status(200);
    world.host.advance(Duration::from_millis(2_300));
    for exchange in &waiting {
        assert_refused(exchange, 503, "introspection_unavailable");
    }
    world.api.questions.provider = Provider::Honest;
    ask(&mut world, "op_good").assert_status(200);
}

fn one_source_cannot_take_every_place() {
    let mut world = world();
    world.api.questions.provider = Provider::Silent;
    let flood: Vec<_> = (0..500).map(|n| world.host.request(bearer_from(1, &format!("op_{n}")))).collect();
    assert_eq!(flood.iter().filter(|exchange| exchange.is_paused()).count(), 32);
    for exchange in &flood[32..] {
        assert_refused(exchange, 503, "introspection_busy");
    }
    // A second one that floods as much leaves room too, and whoever comes then is asked about.
    let second: Vec<_> = (0..500).map(|n| world.host.request(bearer_from(2, &format!("op_s{n}")))).collect();
    assert_eq!(second.iter().filter(|exchange| exchange.is_paused()).count(), 16);
    world.api.questions.provider = Provider::Honest;
    let good = world.host.request(bearer_from(3, "op_good"));
    world.answer_all();
    good.assert_status(200);
    let asked = world.api.questions.asked.iter().find(|asked| asked.token == "op_good").unwrap();
    assert_eq!(asked.source, [192, 0, 2, 3], "the control service shares its places out by the source, too");
}

fn one_source_cannot_hold_every_waiting_request() {
    let mut world = world();
    world.api.questions.provider = Provider::Silent;
    // Few tokens, many requests with each.
    let flood: Vec<_> =
        (0..1_500).map(|n| world.host.request(bearer_from(1, &format!("op_{}", n % 8)))).collect();
    assert_eq!(flood.iter().filter(|exchange| exchange.is_paused()).count(), 500);
    world.api.questions.provider = Provider::Honest;
    let good = world.host.request(bearer_from(3, "op_good"));
    world.answer_all();
    good.assert_status(200);
}

fn bad_tokens_do_not_push_good_ones_out() {
    let mut world = world();
    ask(&mut world, "op_good").assert_status(200);
    for n in 0..5_000 {
        assert_refused(&ask(&mut world, &format!("op_{n}")), 401, "token_inactive");
        if n % 100 == 0 {
            world.host.clear_history();
        }
    }
    let asked = world.api.questions.asked.len();
    ask(&mut world, "op_good").assert_status(200);
    assert_eq!(world.api.questions.asked.len(), asked);
}

fn the_answer_is_judged_like_claims() {
    for (name, value, status, reason) in [
        ("aud", json!("other"), 401, "audience_mismatch"),
        ("exp", json!(NOW - 100), 401, "token_expired"),
        ("nbf", json!(NOW + 100), 401, "token_not_yet_valid"),
        ("tenant", json!(null), 401, "claim_invalid"),
        ("active", json!(false), 401, "token_inactive"),
        ("client_id", json!("unheard-of"), 403, "source_type_unknown"),
        ("tenant", json!("globex"), 404, "cluster_unknown"),
    ] {
        let mut world = world();
        world.api.questions.tokens.get_mut("op_good").unwrap()[name] = value;
        assert_refused(&ask(&mut world, "op_good"), status, reason);
    }
}

fn a_token_ends_with_its_exp_although_the_answer_would_be_fresh() {
    let mut world = world_with(|d| {
        d["leewaySeconds"] = json!(0);
        d["activeSeconds"] = json!(300);
    });
    world.api.questions.tokens.get_mut("op_good").unwrap()["exp"] = json!(NOW + 5);
    ask(&mut world, "op_good").assert_status(200);
    world.host.advance(Duration::from_secs(6));
    world.answer_all();
    assert_refused(&ask(&mut world, "op_good"), 401, "token_expired");
}

fn a_provider_that_wants_to_be_asked_each_time_is() {
    let mut world = world_with(|d| {
        d["activeSeconds"] = json!(0);
        d["inactiveSeconds"] = json!(0);
    });
    for round in 1..=3 {
        ask(&mut world, "op_good").assert_status(200);
        assert_eq!(world.api.questions.asked.len(), round);
        world.host.advance(Duration::from_millis(60));
    }
    world.api.questions.tokens.clear();
    assert_refused(&ask(&mut world, "op_good"), 401, "token_inactive");
}

fn the_decision_is_taken_again_after_the_wait() {
    let mut world = world();
    world.api.questions.provider = Provider::Silent;
    let waits = ask(&mut world, "op_good");
    waits.assert_paused();
    world.revoke("sid:s-1");
    world.api.questions.provider = Provider::Honest;
    world.answer_all();
    assert_refused(&waits, 401, "credential_revoked");
}

fn revocation_reaches_tokens_that_are_kept() {
    for name in ["sub:ann", "sid:s-1", "jti:t-1", "client:web"] {
        let mut world = world();
        ask(&mut world, "op_good").assert_status(200);
        world.revoke(name);
        assert_refused(&ask(&mut world, "op_good"), 401, "credential_revoked");
        assert_eq!(world.api.questions.asked.len(), 1, "{name}: judged again, not asked again");
    }
}

fn what_looks_like_a_jws_is_never_asked_about() {
    let mut world = world_with(|d| d["tokenPrefix"] = json!(""));
    let identity = world::identity_token("acme-1");
    assert_refused(&ask(&mut world, &identity), 401, "credential_unsupported");
    let unsigned = format!("{}.", world::token(|_| ()).rsplit_once('.').unwrap().0);
    assert_refused(&ask(&mut world, &unsigned), 401, "signature_invalid");
    assert_eq!(world.api.questions.asked.len(), 0);
    world.api.questions.tokens.insert("a.b.c".into(), world.api.questions.tokens["op_good"].clone());
    ask(&mut world, "a.b.c").assert_status(200);
    assert_eq!(world.api.questions.asked.len(), 1);
}

fn no_provider_fits_no_question_is_asked() {
    let mut world = world();
    assert_refused(&ask(&mut world, "other"), 401, "credential_unsupported");
    let mut without = World::gateway();
    assert_refused(&ask(&mut without, "op_good"), 401, "credential_unsupported");
    assert_eq!(world.api.questions.asked.len() + without.api.questions.asked.len(), 0);
}

fn the_chain_of_plugins_waits_too() {
    let plugins = ["authn", "source-type", "cluster-status", "audit"].map(|name| plugin(name, &config()));
    let mut world = World::new(plugins.into());
    world.change(provider(|_| ()));
    let claims =
        json!({"active": true, "sub": "ann", "tenant": "acme", "aud": "portcullis", "client_id": "web"});
    world.api.questions.tokens.insert("op_good".into(), claims);
    let exchange = ask(&mut world, "op_good");
    exchange.assert_status(200).assert_upstream_header("x-portcullis-source-type", "human");
    assert_eq!(world.records()[0].decision, "allow");
}

/// An issuer whose tokens are asked about, too.
fn asking(told: Value) -> (World, String) {
    let mut world = world();
    let mut record = world::issuer_document();
    let mut document: Value = serde_json::from_slice(&record.value).unwrap();
    document["introspection"] = json!("as");
    record.value = document.to_string().into();
    world.change(record);
    let token = world::token(|c| c["scope"] = json!("read write"));
    world.api.questions.tokens.insert(token.clone(), told);
    (world, token)
}

fn a_jwt_of_an_issuer_that_wants_it_is_asked_about_once_it_is_verified() {
    let (mut world, token) = asking(json!({"active": true}));
    let exchange = ask(&mut world, &token);
    exchange.assert_status(200).assert_upstream_header("x-portcullis-roles", "reader,writer");
    ask(&mut world, &token).assert_status(200);
    assert_eq!(world.api.questions.asked.len(), 1, "the answer is kept");
    // What is not verified is shown to nobody.
    let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, "AAAA");
    assert_refused(&ask(&mut world, &forged), 401, "signature_invalid");
    let expired = world::token(|c| c["exp"] = json!(NOW - 60));
    assert_refused(&ask(&mut world, &expired), 401, "token_expired");
    assert_eq!(world.api.questions.asked.len(), 1);
    // A provider that takes it back, or cannot be asked, refuses it.
    let (mut world, token) = asking(json!({"active": false}));
    assert_refused(&ask(&mut world, &token), 401, "token_inactive");
    let (mut world, token) = asking(json!({"active": true}));
    world.change(Record { removed: true, ..put(RecordKind::Introspection, b"as", "") });
    assert_refused(&ask(&mut world, &token), 503, "introspection_unavailable");
    assert_eq!(world.api.questions.asked.len(), 0);
}

fn what_a_provider_says_of_a_jwt_can_only_take_away() {
    let fewer = json!({"active": true, "sub": "ann", "roles": ["reader", "owner"], "scope": "read admin"});
    let (mut world, token) = asking(fewer);
    let exchange = ask(&mut world, &token);
    exchange.assert_status(200).assert_upstream_header("x-portcullis-roles", "reader");
    let header = exchange.assert_forwarded().header("x-portcullis-identity").unwrap().to_owned();
    let caller = world::verifier("acme-1").verify(&header, NOW).unwrap();
    assert_eq!(caller.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>(), ["read"]);
    assert_eq!((caller.credential.as_str(), caller.subject.as_str()), ("jwt", "ann"));
    for (told, reason) in [
        (json!({"active": true, "sub": "bob"}), "token_inactive"),
        (json!({"active": true, "iss": "https://other.test"}), "token_inactive"),
        (json!({"active": true, "tenant": "globex"}), "tenant_not_allowed"),
        (json!({"active": true, "aud": "other"}), "audience_mismatch"),
        (json!({"active": true, "exp": NOW - 60}), "token_expired"),
        (json!({"active": true, "exp": "soon"}), "claim_invalid"),
        (json!({"active": true, "token_type": "refresh_token"}), "token_inactive"),
        (json!({"active": true, "token_type": "N_A", "cnf": {"jkt": "x"}}), "token_inactive"),
        (json!({"active": true, "cnf": {"jkt": "x"}}), "credential_unsupported"),
    ] {
        let (mut world, token) = asking(told.clone());
        assert_refused(&ask(&mut world, &token), 401, reason);
    }
}
