//! Traffic in its odder forms, and hosts in numbers.

mod common;

use std::time::Duration;

use common::{script, script_module, scripted};
use portcullis_testhost::{Answer, FailurePolicy, Host, Plugin, Request, Upstream, Value};

#[test]
fn the_test_can_be_the_upstream() {
    let mut host = scripted("response_headers: add 2 x-seen 1").upstream(Upstream::manual()).start().unwrap();
    let first = host.request(Request::get("/first"));
    let second = host.request(Request::get("/second"));
    host.respond(&second, Answer::status(201));
    second.assert_status(201).assert_response_header("x-seen", "1");
    first.assert_paused();
    host.respond(&first, Answer::status(202).after(Duration::from_millis(3)));
    host.advance(Duration::from_millis(3));
    first.assert_status(202);
}

#[test]
#[should_panic(expected = "does not wait for its upstream")]
fn an_answer_that_nobody_waits_for_is_a_mistake_of_the_test() {
    let mut host = scripted("").start().unwrap();
    let exchange = host.request(Request::get("/"));
    host.respond(&exchange, Answer::ok());
}

#[test]
fn http2_ends_a_body_with_its_last_part() {
    let mut host =
        scripted("request_body: note; request_headers: property request|protocol").start().unwrap();
    host.request(Request::post("/").body("ab").http2());
    host.assert_logged("request_body size=2 end=1");
    host.assert_logged("HTTP/2");
    host.request(Request::post("/").body("ab"));
    host.assert_logged("request_body size=2 end=0");
    host.assert_logged("request_body size=0 end=1");
}

#[test]
fn http2_makes_one_header_of_all_cookies() {
    let mut host = scripted("request_headers: get 0 cookie").start().unwrap();
    let cookies = || Request::get("/").header("cookie", "a=1").header("cookie", "b=2");
    host.request(cookies().http2()).assert_upstream_header("cookie", "a=1; b=2");
    let seen = host.request(cookies()).assert_forwarded();
    assert_eq!(seen.headers.get_all("cookie").count(), 2);
}

#[test]
fn what_the_codec_refuses_is_only_logged() {
    let script = "request_headers: note; response_headers: note; log: get 0 :path; log: get 2 :status; \
                  log: property response|flags; log: property request|path; done: note";
    let mut host = scripted(script).start().unwrap();
    let exchange = host.request(Request::get("/").malformed());
    exchange.assert_status(400).assert_response_body("Bad Request");
    assert_eq!(exchange.upstream(), None);
    let lines: Vec<_> = host.logs().into_iter().map(|line| line.message).collect();
    assert_eq!(
        lines,
        [
            "[] log 2 get -> 1 ",
            "[] log 3 get -> 0 400",
            "[] log 4 property -> 0 %00%00%04%00%00%00%00%00",
            "[] log 5 property -> 1 ",
            "[] done ",
        ]
    );
}

#[test]
fn properties_come_from_the_test_the_stream_and_the_plugin() {
    let script = "request_headers: property source|address; request_headers: property node|id; \
                  request_headers: property metadata|filter_metadata|envoy.x|key; \
                  request_headers: set_property mine 1; request_headers: property connection|uri_san_peer_certificate";
    let mut host = scripted(script).property("node.id", "gw-1").start().unwrap();
    let request = Request::get("/")
        .peer("spiffe://cluster.local/ns/a/sa/b")
        .property("source.address", "10.0.0.9:1234")
        .property(["metadata", "filter_metadata", "envoy.x", "key"], Value::Bool(true));
    let exchange = host.request(request);
    for text in ["0 10.0.0.9:1234", "0 gw-1", "0 %01", "0 spiffe://cluster.local/ns/a/sa/b"] {
        host.assert_logged(&format!("property -> {text}"));
    }
    assert_eq!(exchange.filter_state("wasm.mine"), Some(b"1".to_vec()));
    assert_eq!(exchange.filter_state("mine"), None);
}

#[test]
fn a_route_is_looked_up_again_after_headers_changed() {
    let routed = |script: &str| {
        let mut host = scripted(script)
            .router(|headers| headers.get("x-cluster").map(str::to_owned))
            .upstream_named("blue", Answer::ok().body("blue"))
            .start()
            .unwrap();
        let exchange = host.request(Request::get("/"));
        (exchange.status(), exchange.route())
    };
    assert_eq!(routed("request_headers: note"), (Some(404), None));
    assert_eq!(routed("request_headers: add 0 x-cluster blue"), (Some(200), Some("blue".to_owned())));
    assert_eq!(routed("request_headers: add 0 x-cluster green"), (Some(503), Some("green".to_owned())));
}

#[test]
fn thousands_of_hosts_live_side_by_side() {
    let module = script_module();
    let plugin =
        Plugin::new(&module).config("request_headers: shared_set k v; request_headers: shared_get k");
    let mut hosts: Vec<Host> = (0..2000)
        .map(|_| Host::builder().plugin(plugin.clone()).start().expect("another host starts"))
        .collect();
    for host in &mut hosts {
        host.request(Request::get("/")).assert_status(200);
    }
    assert!(hosts.iter().all(|host| host.shared_data("", "k").is_some_and(|(_, cas)| cas == 1)));
}

#[test]
fn a_vm_is_reloaded_as_often_as_it_dies() {
    let plugin =
        script("request_headers: note").on_failure(FailurePolicy::Reload { backoff: Duration::from_secs(1) });
    let mut host = Host::builder().plugin(plugin).start().unwrap();
    for _ in 0..250 {
        host.advance(Duration::from_secs(1));
        host.request(Request::get("/").header("x-script", "request_headers: trap")).assert_status(503);
        // The VM was older than the back-off: it is reloaded at once.
        host.request(Request::get("/")).assert_status(200);
    }
    host.request(Request::get("/").header("x-script", "request_headers: trap"));
    host.request(Request::get("/")).assert_status(503);
}
