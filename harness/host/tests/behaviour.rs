//! What plugins can do, and what a test sees of it: one story each.

mod common;

use std::time::Duration;

use common::{script, scripted};
use portcullis_testhost::{Answer, FailurePolicy, Fault, Host, Request, Upstream, VmId};

#[test]
fn a_header_is_added_for_the_upstream() {
    let mut host = scripted("request_headers: add 0 x-a 1").start().unwrap();
    host.request(Request::get("/")).assert_status(200).assert_upstream_header("x-a", "1");
}

#[test]
fn a_refusal_never_reaches_the_upstream() {
    let mut host = scripted("request_headers: reply 403 no%20way nope -1 x-why because").start().unwrap();
    let exchange = host.request(Request::get("/"));
    let seen = exchange.assert_refused(403);
    assert_eq!(seen.text(), "nope");
    assert_eq!(seen.header("x-why"), Some("because"));
    assert_eq!(seen.header("content-type"), Some("text/plain"));
    assert_eq!(exchange.local_reply().unwrap().details, "no_way");
}

#[test]
fn a_request_waits_for_its_callout_and_goes_on() {
    let script = "request_headers: call authz 100 hello :method POST :path /check :authority authz; \
                  request_headers: return 1; call_response: get 6 :status; call_response: body 4 0 100; \
                  call_response: continue 0";
    let mut host = scripted(script)
        .cluster("authz", Answer::ok().body("yes").after(Duration::from_millis(20)))
        .start()
        .unwrap();
    let exchange = host.request(Request::get("/"));
    exchange.assert_paused();
    host.advance(Duration::from_millis(19));
    exchange.assert_paused();
    host.advance(Duration::from_millis(1));
    exchange.assert_status(200);
    host.assert_logged("get -> 0 200");
    host.assert_logged("body -> 0 yes");
    assert_eq!(exchange.duration(), Some(Duration::from_millis(20)));
}

#[test]
fn a_late_callout_is_a_504() {
    let script = "request_headers: call authz 100 - :method GET :path / :authority a; \
                  request_headers: return 1; call_response: get 6 :status; call_response: continue 0";
    let mut host = scripted(script).cluster("authz", Answer::never()).start().unwrap();
    let exchange = host.request(Request::get("/"));
    host.advance(Duration::from_millis(100));
    exchange.assert_status(200);
    host.assert_logged("get -> 0 504");
}

#[test]
fn a_long_poll_is_answered_when_the_test_says_so() {
    let script = "configure: tick_period 1000; tick: call control 0 - :method GET :path /poll :authority c; \
                  call_response: body 4 0 9";
    let mut host = scripted(script).cluster("control", Upstream::manual()).start().unwrap();
    host.advance(Duration::from_secs(1));
    let calls = host.pending_calls("control");
    assert_eq!(calls.iter().map(|call| call.vm).collect::<Vec<_>>(), [VmId::Main, VmId::Worker(0)]);
    host.answer(calls[1].id, Answer::ok().body("news"));
    host.assert_logged("body -> 0 news");
}

#[test]
fn a_trap_is_a_503_and_then_the_policy_decides() {
    let trap = "request_headers: get 0 x-boom";
    let boom = || Request::get("/").header("x-script", "request_headers: trap");
    for (policy, next) in [(FailurePolicy::Closed, 503), (FailurePolicy::Open, 200)] {
        let mut host = Host::builder().plugin(script(trap).on_failure(policy)).start().unwrap();
        host.request(boom());
        host.request(Request::get("/")).assert_status(next);
        host.advance(Duration::from_secs(60));
        host.request(Request::get("/")).assert_status(next);
    }
    let mut host = Host::builder().plugin(script(trap).on_failure(FailurePolicy::reload())).start().unwrap();
    host.request(boom()).assert_status(503);
    host.request(Request::get("/")).assert_status(503);
    host.advance(Duration::from_secs(1));
    host.request(Request::get("/")).assert_status(200);
}

#[test]
fn a_fault_strikes_the_call_it_is_meant_for() {
    let mut host = scripted("request_headers: get 0 a; request_headers: get 0 b").start().unwrap();
    host.inject(Fault::trap().on("proxy_get_header_map_value").nth(4));
    host.request(Request::get("/")).assert_status(503);
    assert!(host.vms().iter().any(|vm| vm.failure.is_some()));
}

#[test]
fn reading_a_map_after_its_phase_is_misuse() {
    let mut host = scripted("response_headers: get 0 :path").start().unwrap();
    host.request(Request::get("/")).assert_status(200);
    let misuse = host.take_misuse();
    assert_eq!(misuse.len(), 1);
    assert!(misuse[0].to_string().starts_with(
        "proxy_get_header_map_value in proxy_on_response_headers (worker 0, context 2): request_headers"
    ));
}

#[test]
#[should_panic(expected = "misused the Proxy-Wasm ABI")]
fn misuse_that_nobody_looked_at_fails_the_test() {
    let mut host = scripted("response_headers: get 0 :path").start().unwrap();
    host.request(Request::get("/"));
}

/// Text of a scripted exchange, for snapshots: the same in every run.
#[test]
fn an_exchange_reads_the_same_in_every_run() {
    let text = || {
        let mut host = scripted("request_headers: get 0 :path; request_headers: reply 401 no_token bye -1")
            .seed(7)
            .start()
            .unwrap();
        host.request(Request::get("/x")).to_string()
    };
    let first = text();
    assert_eq!(first, text());
    let expected = "\
exchange: over, status 401
local reply: 401 by plugin 0 (no_token)
upstream saw: nothing
client saw:
  :status: 401
  content-length: 3
  content-type: text/plain
  body (3 bytes): bye
";
    assert!(first.starts_with(expected), "{first}");
    assert!(
        first.contains("    proxy_get_header_map_value(request_headers, \":path\") -> \"/x\"\n"),
        "{first}"
    );
    assert!(first.contains("proxy_send_local_response(401, \"no_token\", \"bye\", -1)"), "{first}");
}

/// The first line of what each assertion says when it fails.
#[test]
fn a_failed_assertion_says_what_was_found_instead() {
    let script =
        "request_headers: add 0 x-a 1; request_headers: add 0 x-a 2; response_headers: add 2 x-b %ff";
    let mut host = scripted(script).upstream(Answer::ok().body("hello")).start().unwrap();
    let forwarded = host.request(Request::get("/"));
    let refused = host.request(Request::get("/").header("x-script", "request_headers: reply 403 why b -1"));
    host.set_upstream(Answer::never());
    let waiting = host.request(Request::get("/"));
    let said = |assertion: &dyn Fn()| {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(assertion)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().lines().next().unwrap().to_owned()
    };
    let say = [
        said(&|| {
            forwarded.assert_status(404);
        }),
        said(&|| {
            refused.assert_status(200);
        }),
        said(&|| {
            waiting.assert_status(200);
        }),
        said(&|| {
            forwarded.assert_upstream_header("x-a", "1");
        }),
        said(&|| {
            refused.assert_upstream_header("x-a", "1");
        }),
        said(&|| {
            forwarded.assert_response_header("x-b", "1");
        }),
        said(&|| {
            forwarded.assert_no_upstream_header("x-a");
        }),
        said(&|| {
            forwarded.assert_no_response_header("x-b");
        }),
        said(&|| {
            forwarded.assert_response_body("help");
        }),
        said(&|| {
            forwarded.assert_refused(403);
        }),
        said(&|| {
            refused.assert_paused();
        }),
    ];
    assert_eq!(
        say,
        [
            "expected status 404, but the client saw 200",
            "expected status 200, but plugin 0 answered 403 (why)",
            "expected status 200, but the client has seen nothing yet (Host::advance moves the time on)",
            "expected the upstream to see x-a: 1, but it saw x-a: 1 and x-a: 2",
            "expected the upstream to see x-a: 1, but it saw nothing",
            "expected the client to see x-b: 1, but it saw x-b: \\xff",
            "expected the upstream not to see x-a, but it saw x-a: 1 and x-a: 2",
            "expected the client not to see x-b, but it saw x-b: \\xff",
            "expected the client to see the body \"help\", but it saw \"hello\" (the first difference is at byte 3)",
            "expected a plugin to refuse the request with 403, but it was forwarded, and the client saw 200",
            "expected the exchange to wait, but plugin 0 answered 403 (why)",
        ]
    );
}

#[test]
fn a_failed_assertion_shows_the_whole_exchange() {
    let mut host = scripted("request_headers: add 0 x-a 1").start().unwrap();
    let exchange = host.request(Request::get("/x"));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        exchange.assert_upstream_header("x-a", "2");
    }))
    .unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.starts_with(
            "expected the upstream to see x-a: 2, but it saw x-a: 1\nexchange: over, status 200"
        ),
        "{text}"
    );
    assert!(text.contains("proxy_add_header_map_value(request_headers, \"x-a\", \"1\")"), "{text}");
}
