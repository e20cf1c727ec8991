//! Threads, shared state, faults and life cycles.

mod common;

use std::time::Duration;

use common::{scripted, signatures};
use portcullis_testhost::{
    Answer, CallState, Callback, FailureKind, Fault, Host, Limits, Metric, Request, Status, Upstream, VmId,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_thread_ticks_and_workers_share_data_by_compare_and_swap() {
    let mut host = scripted("configure: tick_period 1000; tick: shared_swap turn x 0; tick: log 2 ticked")
        .workers(3)
        .start()
        .unwrap();
    host.advance(2 * SECOND);
    let ticks = host.logs().iter().filter(|line| line.message == "ticked").count();
    assert_eq!(ticks, 2 * 4, "main and three workers");
    let (value, cas) = host.shared_data("", "turn").unwrap();
    assert_eq!((value.as_slice(), cas), (&b"x"[..], 8));
    assert_eq!(host.set_shared_data("", b"turn", b"y", cas - 1), Err(Status::CasMismatch));
    assert_eq!(host.set_shared_data("", b"turn", b"y", cas), Ok(()));
}

#[test]
fn a_queue_tells_its_last_registrant_and_survives_a_trap() {
    let mut host =
        scripted("configure: queue jobs; queue_ready: dequeue jobs; request_headers: enqueue jobs j1")
            .workers(2)
            .start()
            .unwrap();
    host.request(Request::get("/"));
    let line = host.logs().into_iter().find(|line| line.message.contains("queue_ready")).unwrap();
    assert_eq!((line.vm, line.message.contains("dequeue -> 0 j1")), (VmId::Worker(1), true));
    assert_eq!(host.queue("", "jobs"), Some(vec![]));
    // The listener dies: what comes after waits in the queue.
    host.request(Request::get("/").header("x-script", "request_headers: trap").on_worker(1))
        .assert_status(503);
    host.request(Request::get("/").header("x-script", "request_headers: enqueue jobs j2"));
    assert_eq!(host.queue("", "jobs"), Some(vec![b"j2".to_vec()]));
    assert_eq!(host.enqueue("", b"nobody", b"x"), Err(Status::NotFound));
}

#[test]
fn a_worker_whose_configuration_fails_passes_requests() {
    let refusing = "configure: return 1; request_headers: reply 403 d b -1";
    let trap = Fault::trap().during(Callback::Configure).in_vm(VmId::Worker(1));
    let mut host = scripted(refusing).workers(2).fault(trap).start().unwrap();
    assert_eq!(host.start_failures().len(), 1);
    assert_eq!(host.start_failures()[0].vm, VmId::Worker(1));
    host.request(Request::get("/").on_worker(0)).assert_refused(403);
    host.request(Request::get("/").on_worker(1)).assert_status(200);
}

#[test]
fn a_hostcall_can_be_made_to_fail() {
    let mut host = scripted("request_headers: get 0 :path").start().unwrap();
    host.inject(Fault::status(Status::InternalFailure).on("proxy_get_header_map_value").nth(3));
    host.request(Request::get("/")).assert_status(200);
    host.assert_logged("get -> 10");
    host.inject(Fault::out_of_fuel().on("proxy_get_header_map_value"));
    host.request(Request::get("/")).assert_status(503);
    let failure = host.vms().into_iter().find_map(|vm| vm.failure).unwrap();
    assert_eq!(failure.kind, FailureKind::OutOfFuel);
}

#[test]
fn an_endless_loop_in_a_request_ends_with_the_fuel() {
    let limits = Limits { fuel_per_callback: 10_000_000, ..Limits::default() };
    let mut host = scripted("request_headers: loop").limits(limits).start().unwrap();
    host.request(Request::get("/")).assert_status(503);
    let failure = host.vms().into_iter().find_map(|vm| vm.failure).unwrap();
    assert_eq!((failure.kind, failure.callback), (FailureKind::OutOfFuel, Callback::RequestHeaders));
}

#[test]
fn memory_stops_growing_at_its_limit() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let script = "request_headers: grow 10; request_headers: grow 100";
    let mut host = scripted(script).limits(limits).start().unwrap();
    host.request(Request::get("/")).assert_status(200);
    host.assert_logged("0 grow -> true");
    host.assert_logged("1 grow -> false");
    assert!(host.vms().iter().all(|vm| vm.memory_bytes <= 4 << 20));
}

#[test]
fn a_new_configuration_serves_new_requests_and_old_ones_finish_with_the_old() {
    let old = "request_headers: add 0 x-config old; response_headers: add 2 x-config old; configure: tick_period 1000; tick: log 2 old-tick; done: log 2 old-done";
    let mut host = scripted(old).upstream(Answer::ok().after(5 * SECOND)).start().unwrap();
    let first = host.request(Request::get("/"));
    host.reconfigure(0, "request_headers: add 0 x-config new").unwrap();
    let second = host.request(Request::get("/"));
    host.advance(5 * SECOND);
    first.assert_upstream_header("x-config", "old").assert_response_header("x-config", "old");
    second.assert_upstream_header("x-config", "new");
    host.assert_logged("old-tick");
    host.drain();
    host.assert_logged("old-done");
    host.clear_history();
    host.advance(5 * SECOND);
    assert_eq!(host.logs(), [], "the old timers are gone");
}

#[test]
fn a_configuration_that_the_canary_refuses_changes_nothing() {
    let mut host = scripted("request_headers: add 0 x-config old").start().unwrap();
    assert!(host.reconfigure(0, "configure: return 0").is_err());
    assert!(host.reconfigure(0, "configure: trap").is_err());
    host.request(Request::get("/")).assert_upstream_header("x-config", "old");
}

#[test]
fn a_configuration_is_tried_in_a_canary_once() {
    let mut host = scripted("configure: log 2 first").start().unwrap();
    let tries = |host: &Host, text: &str| {
        host.logs().iter().filter(|line| line.vm == VmId::Canary && line.message == text).count()
    };
    let bad = "configure: log 2 bad; configure: return 0";
    for _ in 0..2 {
        let error = host.reconfigure(0, bad).unwrap_err();
        assert!(error.to_string().contains("proxy_on_configure returned false"), "{error}");
    }
    assert_eq!(tries(&host, "bad"), 1);
    host.reconfigure(0, "configure: log 2 second").unwrap();
    host.drain();
    host.reconfigure(0, "configure: log 2 first").unwrap();
    assert_eq!(tries(&host, "first"), 1);
}

#[test]
fn a_chain_can_be_replaced_by_a_longer_or_shorter_one() {
    let adds = |value: &str| common::script(&format!("request_headers: add 0 x-seen {value}")).root_id(value);
    let mut host = Host::builder().plugin(adds("one")).start().unwrap();
    host.update([adds("one"), adds("two")]).unwrap();
    let seen = host.request(Request::get("/")).assert_forwarded();
    assert_eq!(seen.headers.iter().filter(|(name, _)| *name == b"x-seen").count(), 2);
    host.update([adds("three")]).unwrap();
    host.drain();
    host.request(Request::get("/")).assert_upstream_header("x-seen", "three");
    assert!(host.update([]).is_err());
}

#[test]
fn draining_cancels_the_callouts_of_the_old_configuration() {
    let poll = "configure: tick_period 100; tick: tick_period 0; tick: call control 0 - :method GET :path /poll :authority c; call_response: note";
    let mut host = scripted(poll).cluster("control", Upstream::manual()).start().unwrap();
    host.advance(SECOND);
    assert_eq!(host.pending_calls("control").len(), 2);
    host.reconfigure(0, "log: note").unwrap();
    assert_eq!(host.pending_calls("control").len(), 2);
    host.drain();
    assert_eq!(host.pending_calls("control").len(), 0);
    assert!(host.calls().iter().all(|call| call.state == CallState::Cancelled));
}

#[test]
fn a_shutdown_ends_root_contexts_and_done_can_be_put_off() {
    let mut host = scripted("done: log 2 root-done; done: return 0; configure: note").start().unwrap();
    host.shut_down();
    assert_eq!(host.logs().iter().filter(|line| line.message == "root-done").count(), 2);
}

#[test]
fn a_client_that_goes_away_leaves_a_log_without_response() {
    let mut host =
        scripted("log: get 2 :status; log: property response|flags; log: property response|code_details")
            .upstream(Answer::never())
            .start()
            .unwrap();
    let exchange = host.request(Request::get("/"));
    host.disconnect(&exchange);
    assert_eq!(exchange.reset().as_deref(), Some("downstream_remote_disconnect"));
    host.assert_logged("get -> 1");
    host.assert_logged("property -> 0 %00@%00%00%00%00%00%00");
}

#[test]
fn a_request_refused_in_front_is_only_logged() {
    let mut host = scripted("request_headers: note; log: get 0 :path; log: get 2 :status").start().unwrap();
    let exchange = host.request(Request::get("/secret").refused_before_plugins(403));
    exchange.assert_status(403);
    let lines: Vec<_> = host.logs().into_iter().map(|line| line.message).collect();
    assert_eq!(lines, ["[] log 1 get -> 0 /secret", "[] log 2 get -> 0 403"]);
}

#[test]
fn a_body_that_is_too_large_to_buffer_is_a_413() {
    let limits = Limits { buffer_bytes: 100, ..Limits::default() };
    let mut host = scripted("request_part: return 1; request_end: return 0").limits(limits).start().unwrap();
    host.request(Request::post("/").chunk([b'x'; 60]).chunk([b'y'; 40])).assert_status(200);
    let refused = host.request(Request::post("/").chunk([b'x'; 60]).chunk([b'y'; 41]));
    refused.assert_status(413);
    assert_eq!(refused.local_reply().unwrap().details, "request_payload_too_large");
}

#[test]
fn a_pause_at_the_headers_holds_the_body_back() {
    let limits = Limits { buffer_bytes: 10, ..Limits::default() };
    let script = "request_headers: call authz 0 - :method GET :path / :authority a; request_headers: return 1; call_response: continue 0; request_body: note";
    let mut host = scripted(script).limits(limits).cluster("authz", Upstream::manual()).start().unwrap();
    let exchange = host.request(Request::post("/").stay_open());
    host.send_body(&exchange, "one ");
    host.send_body(&exchange, "and a long part");
    assert!(exchange.is_under_backpressure());
    assert!(exchange.upstream().is_none());
    let call = host.pending_calls("authz")[0].id;
    host.answer(call, Answer::ok());
    host.end_request(&exchange);
    assert_eq!(exchange.assert_forwarded().text(), "one and a long part");
    exchange.assert_status(200);
}

#[test]
fn unary_grpc_callouts() {
    let script = "request_headers: grpc svc acme.Authz Check ping 100; request_headers: return 1; grpc_receive: body 5 0 99; grpc_receive: continue 0; grpc_close: note; grpc_close: status; grpc_close: continue 0";
    let asked = Upstream::with(|request| match request.headers.get(":path") {
        Some("/acme.Authz/Check") if request.body_bytes() == b"ping" => Answer::grpc("pong"),
        _ => Answer::grpc_error(12, "what?"),
    });
    let mut host = scripted(script).cluster("svc", asked).start().unwrap();
    host.request(Request::get("/")).assert_status(200);
    host.assert_logged("body -> 0 pong");
    for (answer, line) in [
        (Answer::grpc_error(7, "no"), "status -> 0 7 no{via_upstream}"),
        (Answer::never(), "status -> 0 14 upstream request timeout"),
        (Answer::refused(), "status -> 0 14 upstream connect error"),
    ] {
        host.set_cluster("svc", answer);
        let exchange = host.request(Request::get("/"));
        host.advance(SECOND);
        exchange.assert_status(200);
        host.assert_logged(line);
    }
}

#[test]
fn a_callout_that_is_cut_in_the_middle_has_no_headers() {
    let script = "request_headers: call authz 0 - :method GET :path / :authority a; request_headers: return 1; call_response: note; call_response: status; call_response: continue 0";
    let mut host = scripted(script).cluster("authz", Answer::ok().body("half").cut()).start().unwrap();
    host.request(Request::get("/")).assert_status(200);
    host.assert_logged("call_response none=true body=0 trailers=0");
    host.assert_logged("status -> 0 11 reset");
}

#[test]
fn a_response_that_is_cut_in_the_middle_is_reset() {
    let mut host = scripted("log: property response|code_details").start().unwrap();
    host.set_upstream(Answer::ok().chunk("half").cut());
    let exchange = host.request(Request::get("/"));
    assert!(exchange.reset().is_some());
    assert_eq!(exchange.response().unwrap().text(), "half");
}

#[test]
fn a_response_that_stalls_is_ended_by_the_time_out_of_the_route_or_by_the_client() {
    let mut host = scripted("log: property response|code_details").start().unwrap();
    host.set_upstream(Answer::ok().chunk("half").after(5 * SECOND).stall());
    let waits = host.request(Request::get("/"));
    let leaves = host.request(Request::get("/"));
    host.advance(14 * SECOND);
    assert!(waits.is_paused() && leaves.is_paused());
    assert_eq!(waits.response().unwrap().text(), "half");
    host.disconnect(&leaves);
    host.advance(SECOND);
    assert_eq!(waits.reset().as_deref(), Some("response_timeout"));
    assert_eq!(leaves.reset().as_deref(), Some("downstream_remote_disconnect"));
}

#[test]
fn metrics_are_seen_by_name() {
    let script = "configure: metric 2 latency; configure: metric 0 hits; request_headers: record latency 5; request_headers: record latency 9; request_headers: increment hits 1";
    let mut host = scripted(script).workers(2).start().unwrap();
    host.request(Request::get("/"));
    host.request(Request::get("/").on_worker(1));
    let metrics = host.metrics();
    assert_eq!((metrics.counter("hits"), metrics.histogram("latency")), (2, &[5, 9, 5, 9][..]));
    assert_eq!(metrics.get("none"), None);
    assert_eq!(metrics.get("hits"), Some(&Metric::Counter(2)));
}

/// The differential cases say the same of many more.
#[test]
fn verify_signature_tells_good_from_bad() {
    for signed in signatures::all() {
        let name = signed.name.clone();
        let calls = [
            signed.call(),
            signed.clone().spoilt().call(),
            signed.clone().text("other text").call(),
            signed.clone().hash("md5").call(),
        ];
        let script = calls.map(|call| format!("request_headers: {call}")).join("; ");
        let mut host = scripted(&script).start().unwrap();
        host.request(Request::get("/"));
        let said: Vec<_> = host.logs().into_iter().map(|line| line.message).collect();
        assert_eq!(said[0], "[] request_headers 0 foreign -> 0 %08%01", "{name}: it is good");
        for (at, why) in
            [(1, "Failed to verify digest"), (2, "Failed to verify digest"), (3, "md5 is not supported")]
        {
            assert!(said[at].contains(why), "{name}, {at}: {}", said[at]);
        }
    }
}

#[test]
fn a_loop_of_callouts_without_a_pause_is_reported() {
    let script = "configure: tick_period 10; tick: tick_period 0; tick: call c 0 - :method GET :path / :authority a; call_response: call c 0 - :method GET :path / :authority a";
    let mut host = scripted(script).cluster("c", Answer::ok()).start().unwrap();
    host.advance(SECOND);
    let misuse = host.take_misuse();
    assert!(misuse.iter().any(|misuse| misuse.name == "livelock"), "{misuse:?}");
}
