//! A panic refuses its request, is counted, and Envoy lives on.

use std::io::{Read, Write};

use crate::envoy::{Envoy, Launch};
use crate::http::{connect, get, post, send};

const FILTERS: &[(&str, &str)] = &[("first", "tick=20000")];

/// The panics that Envoy's own metric and the module's own count tell.
fn counted(envoy: &Envoy) -> (u64, u64) {
    let text = get(envoy.address, "/report", &[]).text();
    let panics = text.split("panics=").nth(1).unwrap().split(' ').next().unwrap();
    (envoy.metric("probe_panics").unwrap_or(0.0) as u64, panics.parse().unwrap())
}

fn check(envoy: &mut Envoy, expected: u64) {
    envoy.assert_alive();
    assert_eq!(get(envoy.address, "/", &[]).status, 200);
    assert_eq!(counted(envoy), (expected, expected), "{}", envoy.log());
}

#[test]
fn a_panic_before_the_response_is_a_503() {
    let mut envoy = Envoy::start(&Launch::of(FILTERS));
    assert_eq!(get(envoy.address, "/panic/request_headers", &[]).status, 503);
    check(&mut envoy, 1);
    assert_eq!(post(envoy.address, "/panic/request_body", b"body").status, 503);
    check(&mut envoy, 2);
    let trailers = b"POST /panic/request_trailers HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
        transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-end: 1\r\n\r\n";
    assert_eq!(send(envoy.address, trailers).status, 503);
    check(&mut envoy, 3);
    assert_eq!(get(envoy.address, "/panic/response_headers", &[]).status, 503);
    check(&mut envoy, 4);
    // Held, woken by the main thread, and not left hanging.
    assert_eq!(get(envoy.address, "/panic/scheduled", &[]).status, 503);
    check(&mut envoy, 5);
    assert!(envoy.log().contains("asked for in request_headers"), "{}", envoy.log());
}

#[test]
fn a_panic_within_a_response_ends_it() {
    let mut envoy = Envoy::start(&Launch::of(FILTERS));
    for (hook, expected) in [("response_body", 1), ("response_trailers", 2)] {
        let mut stream = connect(envoy.address);
        let request = format!("GET /panic/{hook} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Whether the end is a reset is up to the kernel.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // Cut off, or a 503 as long as nothing was sent: nobody takes it for a whole response.
        let whole = answer.contains("GET /panic") || answer.ends_with("0\r\n\r\n");
        assert!(!whole, "{hook}: {answer}");
        check(&mut envoy, expected);
    }
}

#[test]
fn a_panic_after_the_response_is_only_counted() {
    let mut envoy = Envoy::start(&Launch::of(FILTERS));
    assert_eq!(get(envoy.address, "/panic/stream_complete", &[]).status, 200);
    check(&mut envoy, 1);
    assert_eq!(get(envoy.address, "/panic/destroy", &[]).status, 200);
    envoy.assert_alive();
    // There is no stream any more whose counter could be changed.
    assert_eq!(counted(&envoy), (1, 2));
}

#[test]
fn a_grpc_request_gets_its_own_kind_of_refusal() {
    let mut envoy = Envoy::start(&Launch::of(FILTERS));
    let response = get(envoy.address, "/panic/request_headers", &["content-type: application/grpc"]);
    assert_eq!((response.status, response.values("grpc-status")), (200, vec!["14"]));
    check(&mut envoy, 1);
}

#[test]
fn a_filter_that_cannot_begin_refuses() {
    let mut envoy = Envoy::start(&Launch::of(&[("panic_open", "")]));
    for expected in 1..4 {
        assert_eq!(get(envoy.address, "/", &[]).status, 503);
        envoy.assert_alive();
        assert_eq!(envoy.metric("probe_panics"), Some(f64::from(expected)));
    }
}

#[test]
fn a_panic_on_the_main_thread_is_counted() {
    let mut envoy = Envoy::start(&Launch::of(FILTERS));
    assert_eq!(get(envoy.address, "/panic/config_scheduled", &[]).status, 200);
    envoy.until("count", |envoy| envoy.metric("probe_panics") == Some(1.0));
    let answer = get(envoy.address, "/callout/upstream/panic-in-answer", &[]);
    assert_eq!(answer.status, 200);
    envoy.until("count", |envoy| envoy.metric("probe_panics") == Some(2.0));
    check(&mut envoy, 2);
}

#[test]
fn a_configuration_that_panics_or_fails_is_rejected() {
    for (config, reason) in [("panic", "asked for in a configuration"), ("refuse", "it was asked to")] {
        let mut envoy = Envoy::start(&Launch::of(FILTERS));
        envoy.write(&[("first", config)], 0);
        envoy.until("reject", |envoy| envoy.log().contains("Failed to initialize dynamic module"));
        assert!(envoy.log().contains(reason), "{}", envoy.log());
        assert_eq!(get(envoy.address, "/", &[]).status, 200);
    }
}
