//! What plugins can do, and what a test sees of it: one story each.

mod common;

use std::time::Duration;

use common::{script, scripted};
use portcullis_testhost::{Answer, Callback, FailurePolicy, Fault, Host, Request, Upstream, VmId};

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

const CALL: &str = "call authz 100 - :method GET :path / :authority a";

/// A call that the ABI does not allow where it is made, and what is said of it. One line for each place in
/// `src/abi` that reports misuse.
const MISUSES: &[(&str, &str)] = &[
    (
        "request_headers: body 0 0 9",
        "proxy_get_buffer_bytes in proxy_on_request_headers (worker 0, context 2): request_body cannot be read \
         in this phase: Envoy shows it empty",
    ),
    ("request_headers: body 7 0 9", "the plugin's configuration can be read in proxy_on_configure only"),
    ("request_headers: body 4 0 9", "http_call_response_body can be read in the callout's callback only"),
    ("request_headers: set_body 4 0 9 x", "http_call_response_body cannot be changed"),
    ("request_headers: set_body 0 0 9 x", "request_body cannot be changed in this phase"),
    (
        "request_headers: call authz 100 - :method GET :path /",
        "a callout needs :method, :authority and :path",
    ),
    (
        "request_headers: grpc_stream authz a.B C",
        "this host offers unary gRPC callouts only: use proxy_grpc_call",
    ),
    ("request_headers: grpc_send 5 x", "there is no gRPC stream: this host offers unary gRPC callouts only"),
    ("request_headers: grpc_cancel 4", "this is not the token of a gRPC callout"),
    ("request_headers: done", "proxy_done without a proxy_on_done that returned false"),
    ("request_headers: effective 99", "there is no context 99"),
    (
        "tick: continue 0",
        "proxy_continue_stream in proxy_on_tick (main, context 1): a root context has no stream",
    ),
    ("tick: close 0", "a root context has no stream to close"),
    ("tick: reply 403 d b -1", "a root context has no stream to answer: the call does nothing"),
    ("tick: set_property a b", "a root context has no filter state to set a property in"),
    ("log: reply 403 d b -1", "a reply in proxy_on_log makes Envoy 1.40 crash; here it does nothing"),
    ("request_headers: set_map 0 x", "the serialised map is malformed or too big; Envoy takes it as empty"),
    ("response_headers: get 0 :path", "request_headers cannot be read in this phase"),
    ("response_headers: add 0 x-a 1", "request_headers cannot be changed in this phase"),
    ("request_headers: metric 2 h; request_headers: increment h 1", "a histogram cannot be incremented"),
    (
        "request_headers: metric 0 c; request_headers: increment c 0",
        "a counter's increment must be above zero",
    ),
];

#[test]
fn every_misuse_says_what_was_wrong() {
    for (line, expected) in MISUSES {
        // A root context misuses things when it ticks, once.
        let script = format!("configure: tick_period 10; tick: tick_period 0; {line}");
        let mut host = scripted(&script).cluster("authz", Answer::ok()).start().unwrap();
        host.request(Request::get("/"));
        host.advance(Duration::from_millis(10));
        let said: Vec<_> = host.take_misuse().iter().map(ToString::to_string).collect();
        assert!(said.first().is_some_and(|said| said.contains(expected)), "{line}: {said:#?}");
    }
}

/// A place that reports misuse and has no line in the table fails here.
#[test]
fn no_misuse_is_left_out() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/abi");
    let sources =
        std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()));
    let places: usize = sources.map(|source| source.unwrap().matches(".misuse(").count()).sum();
    assert_eq!(places, MISUSES.len());
}

/// A callout without an answer is a likely reason.
#[test]
fn misuse_after_a_reset_callout_names_the_reason() {
    let script = format!(
        "request_headers: {CALL}; request_headers: return 1; call_response: get 6 :status; call_response: continue 0"
    );
    let mut host = scripted(&script).cluster("authz", Answer::ok().body("half").cut()).start().unwrap();
    host.request(Request::get("/")).assert_status(200);
    let said = host.take_misuse();
    assert!(
        said[0]
            .to_string()
            .ends_with("(a callout that was reset, or cut in the middle, has no answer: zero headers)"),
        "{said:?}"
    );
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

/// As in Envoy the stream waits for ever; the host must not say that time helps.
#[test]
fn a_stream_held_by_a_dead_vm_says_so() {
    let script = format!("request_headers: {CALL}; request_headers: return 1; call_response: get 6 :status");
    let mut host = scripted(&script).cluster("authz", Answer::ok()).start().unwrap();
    host.inject(Fault::trap().during(Callback::HttpCallResponse));
    let exchange = host.request(Request::get("/"));
    let death = "the VM of plugin \"script\" on worker 0 died at +0 ms in proxy_on_http_call_response: ";
    let text = exchange.to_string();
    assert!(text.starts_with(&format!("exchange: waiting for ever: {death}")), "{text}");
    let failed = || {
        exchange.assert_status(200);
    };
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(failed)).unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.starts_with(&format!("expected status 200, but nothing will come: {death}")), "{said}");
}

fn said(test: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).unwrap_err();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

#[test]
fn what_belongs_to_another_host_is_not_taken() {
    let mut hosts = [0; 2].map(|_| scripted("").start().unwrap());
    let exchange = hosts[0].request(Request::post("/").stay_open());
    let other = &mut hosts[1];
    for said in [
        said(|| other.send_body(&exchange, "x")),
        said(|| other.end_request(&exchange)),
        said(|| other.disconnect(&exchange)),
    ] {
        assert_eq!(said, "this exchange is of another host");
    }
    let unknown = said(|| drop(hosts[0].reconfigure(3, "")));
    assert_eq!(unknown, "there is no plugin 3: this host has 1, counted from 0");
}
