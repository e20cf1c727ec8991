//! A stage that reads the body, on both targets: whole, within its bound, and before a byte of it goes on.

mod world;

use std::time::Duration;

use portcullis_body_probe::MOST;
use portcullis_protocol::wire::RecordKind;
use portcullis_testhost::{Exchange, Request};
use serde_json::{Value, json};
use world::{NOW, Provider, Target, World, config, good, plugin, put, target, to};

on_both! {
    a_body_within_the_bound_is_read_whole_and_goes_on,
    a_body_that_comes_in_pieces_is_read_whole,
    a_body_at_the_bound_is_read_and_one_byte_more_is_refused,
    a_body_that_was_refused_goes_no_further,
    an_empty_body_is_shown_too,
    trailers_end_a_body,
    nobody_waits_for_the_end_of_a_body_that_is_too_long,
    a_client_that_stops_in_the_middle_leaves_nothing_behind,
    a_request_whose_body_nobody_wants_is_not_held,
    a_refusal_by_the_body_speaks_the_callers_protocol,
    a_woken_request_is_judged_by_its_body_too,
    a_woken_request_whose_body_is_still_coming_waits_for_it,
    a_woken_request_whose_body_nobody_wants_goes_on_with_it,
    dry_run_lets_a_refused_body_on,
}

fn world() -> World {
    World::new(vec![plugin("body-probe", &config())])
}

/// A request whose body is read, up to so many bytes.
fn reading(most: usize) -> Request {
    let mut request = good("acme-1").header(MOST, most.to_string());
    request.headers.set(":method", "POST");
    request
}

/// A body of so many bytes behind its length.
fn whole(length: usize) -> String {
    format!("{length}:{}", "x".repeat(length))
}

#[track_caller]
fn assert_refused(exchange: &Exchange, status: u16, reason: &str) {
    exchange.assert_status(status).assert_response_header("x-portcullis-reason", reason);
    let problem: Value = serde_json::from_str(&exchange.response().unwrap().text()).expect("problem details");
    assert_eq!(problem["reason"].as_str(), Some(reason));
    match (target(), exchange.upstream()) {
        // Envoy shows no body to a Wasm module that holds the head.
        (Target::Wasm, Some(seen)) => assert!(seen.body.is_empty() && !seen.complete, "{exchange}"),
        (Target::Wasm | Target::Native, None) => {}
        (Target::Native, Some(_)) => panic!("the head went on: {exchange}"),
    }
}

fn a_body_within_the_bound_is_read_whole_and_goes_on() {
    let mut world = world();
    let exchange = world.host.request(reading(100).body(whole(50)));
    exchange.assert_status(200).assert_upstream_body(whole(50));
    exchange.assert_upstream_header("x-portcullis-subject", "ann").assert_no_upstream_header("authorization");
    assert_eq!(world.records()[0].decision, "allow");
}

fn a_body_that_comes_in_pieces_is_read_whole() {
    let mut world = world();
    let exchange = world.host.request(reading(100).stay_open());
    for piece in ["20:01234", "56789", "", "0123456789"] {
        exchange.assert_paused();
        world.host.send_body(&exchange, piece);
        let passed = exchange.upstream().map(|seen| seen.body_bytes()).unwrap_or_default();
        assert!(passed.is_empty(), "a piece went on before the whole was read: {exchange}");
    }
    world.host.end_request(&exchange);
    exchange.assert_status(200).assert_upstream_body("20:01234567890123456789");
    let exchange = world.host.request(reading(100).chunk("20:01234").chunk("56789").http2());
    assert_refused(&exchange, 403, "cross_site_refused");
}

fn a_body_at_the_bound_is_read_and_one_byte_more_is_refused() {
    let mut world = world();
    let size = whole(50).len();
    world.host.request(reading(size).body(whole(50))).assert_status(200);
    assert_refused(&world.host.request(reading(size - 1).body(whole(50))), 413, "body_too_large");
    let pieces = reading(size - 1).chunk(&whole(50)[..20]).chunk(&whole(50)[20..]);
    assert_refused(&world.host.request(pieces), 413, "body_too_large");
    let records = world.records();
    let told: Vec<_> = records.iter().map(|r| (r.decision.as_str(), r.reason.as_str(), r.status)).collect();
    let refused = ("refuse", "body_too_large", 413);
    assert_eq!(told, [("allow", "", 200), refused, refused]);
}

fn a_body_that_was_refused_goes_no_further() {
    let mut world = world();
    assert_refused(&world.host.request(reading(100).body("9:short")), 403, "cross_site_refused");
    world.host.request(reading(100).body(whole(5))).assert_status(200);
}

fn an_empty_body_is_shown_too() {
    let mut world = world();
    assert_refused(&world.host.request(reading(100)), 400, "header_invalid");
    let open = world.host.request(reading(100).stay_open());
    open.assert_paused();
    world.host.end_request(&open);
    assert_refused(&open, 400, "header_invalid");
}

fn trailers_end_a_body() {
    let mut world = world();
    let exchange = world.host.request(reading(100).chunk(whole(5)).trailer("x-end", "1"));
    exchange.assert_status(200).assert_upstream_body(whole(5));
    assert_eq!(exchange.upstream().unwrap().trailers.get("x-end"), Some("1"));
    let short = reading(100).chunk("9:short").trailer("x-end", "1");
    assert_refused(&world.host.request(short), 403, "cross_site_refused");
}

fn nobody_waits_for_the_end_of_a_body_that_is_too_long() {
    let mut world = world();
    let exchange = world.host.request(reading(10).stay_open());
    world.host.send_body(&exchange, "0123456789");
    exchange.assert_paused();
    world.host.send_body(&exchange, "0");
    assert_refused(&exchange, 413, "body_too_large");
}

fn a_client_that_stops_in_the_middle_leaves_nothing_behind() {
    let mut world = world();
    let exchange = world.host.request(reading(100).stay_open());
    world.host.send_body(&exchange, "50:0123");
    world.host.advance(Duration::from_millis(500));
    exchange.assert_paused();
    world.host.disconnect(&exchange);
    assert!(exchange.is_over() && exchange.status().is_none(), "{exchange}");
    let records = world.records();
    assert_eq!((records.len(), records[0].decision.as_str(), records[0].status), (1, "allow", 0));
    world.host.request(reading(100).body(whole(5))).assert_status(200);
}

fn a_request_whose_body_nobody_wants_is_not_held() {
    let mut world = world();
    let mut request = good("acme-1").stay_open();
    request.headers.set(":method", "POST");
    let exchange = world.host.request(request);
    world.host.send_body(&exchange, "anything");
    exchange.assert_upstream_body("anything");
    world.host.end_request(&exchange);
    exchange.assert_status(200);
}

fn a_refusal_by_the_body_speaks_the_callers_protocol() {
    let mut world = world();
    let grpc = reading(3).header("content-type", "application/grpc").body("0123456789");
    let exchange = world.host.request(grpc);
    exchange.assert_status(200).assert_response_header("x-portcullis-reason", "body_too_large");
    assert!(exchange.response().unwrap().header("grpc-status").is_some_and(|status| status != "0"));
    let mcp = reading(3).header("mcp-protocol-version", "2025-06-18").body("0123456789");
    let seen = world.host.request(mcp).assert_status(413).response().unwrap();
    let body: Value = serde_json::from_str(&seen.text()).unwrap();
    assert_eq!(body["error"]["data"]["reason"], json!("body_too_large"));
}

/// A world in which a request with the token `op_good` waits until `answer_all`.
fn asking() -> World {
    let mut world = world();
    let provider = json!({"name": "as", "issuer": "https://as.test", "tokenPrefix": "op_",
        "audiences": ["portcullis"], "activeSeconds": 30, "inactiveSeconds": 10});
    world.change(put(RecordKind::Introspection, b"as", provider.to_string()));
    let claims = json!({"active": true, "sub": "ann", "tenant": "acme", "aud": "portcullis",
        "client_id": "web", "exp": NOW + 600});
    world.api.questions.tokens.insert("op_good".into(), claims);
    world
}

fn waiting(most: usize) -> Request {
    let mut request = to("acme-1").header("authorization", "Bearer op_good").header(MOST, most.to_string());
    request.headers.set(":method", "POST");
    request
}

fn a_woken_request_is_judged_by_its_body_too() {
    for (request, status, reason) in [
        (waiting(100).body(whole(50)), 200, ""),
        (waiting(100).body("9:short"), 403, "cross_site_refused"),
        (waiting(10).body(whole(50)), 413, "body_too_large"),
        (waiting(10).chunk("0123456789").chunk("0"), 413, "body_too_large"),
        (waiting(100).chunk("4:ab").chunk("cd").trailer("x-end", "1"), 200, ""),
        (waiting(100), 400, "header_invalid"),
    ] {
        let mut world = asking();
        let body = request.body_bytes();
        let exchange = world.host.request(request);
        exchange.assert_paused();
        assert!(exchange.upstream().is_none(), "{exchange}");
        world.answer_all();
        if status == 200 {
            exchange.assert_status(200).assert_upstream_body(body);
        } else {
            assert_refused(&exchange, status, reason);
        }
    }
}

fn a_woken_request_whose_body_is_still_coming_waits_for_it() {
    let mut world = asking();
    let exchange = world.host.request(waiting(100).stay_open());
    world.host.send_body(&exchange, "20:01234");
    world.answer_all();
    exchange.assert_paused();
    world.host.send_body(&exchange, "567890123456789");
    exchange.assert_paused();
    let passed = exchange.upstream().map(|seen| seen.body_bytes()).unwrap_or_default();
    assert!(passed.is_empty(), "{exchange}");
    world.host.end_request(&exchange);
    exchange.assert_status(200).assert_upstream_body("20:01234567890123456789");
}

fn a_woken_request_whose_body_nobody_wants_goes_on_with_it() {
    let mut world = asking();
    let mut request = to("acme-1").header("authorization", "Bearer op_good").chunk("any").chunk("thing");
    request.headers.set(":method", "POST");
    let exchange = world.host.request(request);
    exchange.assert_paused();
    world.answer_all();
    exchange.assert_status(200).assert_upstream_body("anything");
    world.api.questions.provider = Provider::Silent;
    let mut long = to("acme-1").header("authorization", "Bearer op_none").chunk(vec![b'x'; 3 << 20]);
    long.headers.set(":method", "POST");
    let held = world.host.request(long);
    // However long it is, it is not refused for that: nobody has asked for it.
    held.assert_paused();
}

fn dry_run_lets_a_refused_body_on() {
    let mut config = config();
    config["mode"] = json!("dry-run");
    let mut world = World::new(vec![plugin("body-probe", &config)]);
    let exchange = world.host.request(reading(100).body("9:short"));
    exchange.assert_status(200).assert_upstream_body("9:short");
    let records = world.records();
    assert_eq!((records[0].decision.as_str(), records[0].mode.as_str()), ("refuse", "dry-run"));
}
