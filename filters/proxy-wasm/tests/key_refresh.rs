//! Keys that an issuer published a moment ago.

mod world;

use std::time::Duration;

use portcullis_protocol::wire::{Record, RecordKind};
use portcullis_testhost::{Exchange, Request};
use serde_json::{Value, json};

on_both! {
    a_new_key_is_waited_for,
    another_worker_asked_just_before,
    a_key_that_does_not_come_is_waited_for_a_second,
    an_issuer_that_cannot_be_reached_refuses_at_once,
    a_made_up_key_does_not_delay_a_new_one,
    nobody_can_make_the_filter_ask_often_or_hold_many,
    a_bad_signature_is_refused_at_once_and_leaves_other_questions_alone,
    a_key_that_was_replaced_under_its_name_costs_one_refusal,
    a_key_without_a_usable_name_or_an_unknown_issuer_is_not_asked_about,
}
use world::{ISSUER, World, put, to};

/// The issuer with its key under this name.
fn issuer(kid: &str) -> Record {
    let mut document: Value = serde_json::from_slice(&world::issuer_document().value).unwrap();
    document["jwks"]["keys"][0]["kid"] = json!(kid);
    put(RecordKind::Issuer, ISSUER.as_bytes(), document.to_string())
}

fn signed_by(kid: &str) -> Request {
    let token = world::sign(json!({"alg": "EdDSA", "kid": kid}), &world::claims(|_| ()));
    to("acme-1").header("authorization", format!("Bearer {token}"))
}

fn assert_unknown(exchange: &Exchange) {
    exchange.assert_refused(401);
    exchange.assert_response_header("x-portcullis-reason", "key_unknown");
}

fn a_new_key_is_waited_for() {
    let mut world = World::gateway();
    world.api.questions.refresh = Some(204);
    let waits = world.host.request(signed_by("i2"));
    waits.assert_paused();
    world.answer_all();
    waits.assert_paused();
    world.change(issuer("i2"));
    waits.assert_status(200);
    assert_eq!(world.api.questions.refreshed.len(), 1);
    let asked = &world.api.questions.refreshed[0];
    assert_eq!((asked.issuer.as_str(), asked.key_id.as_str()), (ISSUER, "i2"));
    world.host.request(signed_by("i2")).assert_status(200);
    // The old key is gone: it is asked about in vain.
    let old = world.host.request(signed_by("i1"));
    world.answer_all();
    world.host.advance(Duration::from_millis(1_100));
    assert_unknown(&old);
}

fn another_worker_asked_just_before() {
    let mut world = World::gateway();
    world.api.questions.refresh = Some(429);
    let waits = world.host.request(signed_by("i2"));
    world.answer_all();
    waits.assert_paused();
    world.change(issuer("i2"));
    waits.assert_status(200);
}

fn a_key_that_does_not_come_is_waited_for_a_second() {
    for refresh in [Some(204), None] {
        let mut world = World::gateway();
        world.api.questions.refresh = refresh;
        let waits = world.host.request(signed_by("i2"));
        world.answer_all();
        world.host.advance(Duration::from_millis(900));
        waits.assert_paused();
        world.host.advance(Duration::from_millis(150));
        assert_unknown(&waits);
    }
}

fn an_issuer_that_cannot_be_reached_refuses_at_once() {
    for status in [404, 502, 500] {
        let mut world = World::gateway();
        world.api.questions.refresh = Some(status);
        let waits = world.host.request(signed_by("i2"));
        world.answer_all();
        assert_unknown(&waits);
    }
}

fn a_made_up_key_does_not_delay_a_new_one() {
    let mut world = World::gateway();
    world.api.questions.refresh = Some(204);
    let stray = world.host.request(signed_by("made-up"));
    world.answer_all();
    // The issuer changes its key while everybody still waits for the made-up one.
    let waits = world.host.request(signed_by("i2"));
    world.answer_all();
    assert_eq!(world.api.questions.refreshed.len(), 2);
    world.change(issuer("i2"));
    waits.assert_status(200);
    assert_unknown(&stray);
}

fn nobody_can_make_the_filter_ask_often_or_hold_many() {
    let mut world = World::gateway();
    let from = |address: u32, kid: &str| {
        signed_by(kid).property("source.address", format!("192.0.2.{address}:40000"))
    };
    let waiting: Vec<_> = (0..150).map(|n| world.host.request(from(1, &format!("k{n}")))).collect();
    world.answer_all();
    assert_eq!(world.api.questions.refreshed.len(), 4, "four at once");
    assert_eq!(waiting.iter().filter(|e| e.is_paused()).count(), 50, "half of the slots for one source");
    waiting[50..].iter().for_each(assert_unknown);
    let others: Vec<_> = (2..202).map(|n| world.host.request(from(n, &format!("k{n}")))).collect();
    assert_eq!(others.iter().filter(|e| e.is_paused()).count(), 50, "and no more than a hundred in all");
    world.host.request(world::good("acme-1")).assert_status(200);
    world.host.advance(Duration::from_millis(1_100));
    waiting.iter().chain(&others).for_each(assert_unknown);
    // For the rest of the five seconds nothing is asked and nothing is held.
    assert_unknown(&world.host.request(signed_by("i2")));
    world.host.advance(Duration::from_secs(4));
    world.host.request(signed_by("i2")).assert_paused();
    world.answer_all();
    assert_eq!(world.api.questions.refreshed.len(), 5);
}

fn a_key_without_a_usable_name_or_an_unknown_issuer_is_not_asked_about() {
    let mut world = World::gateway();
    let two = json!([{"kty": "OKP"}, {"kty": "OKP"}]);
    for token in [
        world::sign(json!({"alg": "EdDSA", "kid": "a\nb"}), &world::claims(|_| ())),
        world::sign(json!({"alg": "EdDSA", "kid": "x".repeat(256)}), &world::claims(|_| ())),
        world::sign(
            json!({"alg": "EdDSA", "kid": "x", "jwk": two}),
            &world::claims(|c| c["iss"] = json!("https://x")),
        ),
    ] {
        let request = to("acme-1").header("authorization", format!("Bearer {token}"));
        world.host.request(request).assert_refused(401);
    }
    world.answer_all();
    assert_eq!(world.api.questions.refreshed.len(), 0);
}

fn assert_not_signed(exchange: &Exchange) {
    exchange.assert_refused(401);
    exchange.assert_response_header("x-portcullis-reason", "signature_invalid");
}

/// A token with a signature that nobody made.
fn badly_signed() -> Request {
    let good = world::sign(json!({"alg": "EdDSA", "kid": "i1"}), &world::claims(|_| ()));
    let (text, _) = good.rsplit_once('.').unwrap();
    to("acme-1").header("authorization", format!("Bearer {text}.{}", "A".repeat(86)))
}

fn a_bad_signature_is_refused_at_once_and_leaves_other_questions_alone() {
    let mut world = World::gateway();
    world.api.questions.refresh = Some(204);
    for _ in 0..100 {
        assert_not_signed(&world.host.request(badly_signed()));
    }
    world.answer_all();
    let asked = |world: &World| -> Vec<String> {
        world.api.questions.refreshed.iter().map(|question| question.key_id.clone()).collect()
    };
    assert_eq!(asked(&world), [""], "one question, and it names no key");
    // All four questions about unknown keys are still there.
    for n in 0..4 {
        world.host.request(signed_by(&format!("k{n}"))).assert_paused();
    }
    world.answer_all();
    assert_eq!(asked(&world), ["", "k0", "k1", "k2", "k3"]);
    world.host.advance(Duration::from_secs(58));
    assert_not_signed(&world.host.request(badly_signed()));
    world.answer_all();
    assert_eq!(asked(&world).len(), 5);
    world.host.advance(Duration::from_secs(3));
    assert_not_signed(&world.host.request(badly_signed()));
    assert_not_signed(&world.host.request(badly_signed()));
    world.answer_all();
    assert_eq!(asked(&world).len(), 6);
    // An issuer whose keys the control service cannot have is no reason to let anybody wait either.
    world.host.request(world::good("acme-1")).assert_status(200);
}

fn a_key_that_was_replaced_under_its_name_costs_one_refusal() {
    let mut world = World::gateway();
    world.api.questions.refresh = Some(204);
    // The gateway knows another key under the name: that of RFC 8037, appendix A.
    let mut document: Value = serde_json::from_slice(&world::issuer_document().value).unwrap();
    document["jwks"]["keys"][0]["x"] = json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    world.change(put(RecordKind::Issuer, ISSUER.as_bytes(), document.to_string()));
    assert_not_signed(&world.host.request(world::good("acme-1")));
    world.answer_all();
    assert_eq!(world.api.questions.refreshed.len(), 1);
    world.change(world::issuer_document());
    world.host.request(world::good("acme-1")).assert_status(200);
}
