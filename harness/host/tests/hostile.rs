//! Modules that mean harm: each ends with a typed error or a dead VM, never with a panic, a hang or a host
//! out of memory.

mod common;

use std::time::Duration;

use portcullis_testhost::{
    Callback, FailureKind, FailurePolicy, Host, Limits, LoadError, Module, Plugin, Request, StartError,
    VmFailure,
};

/// A module with an allocator and a page of memory that holds the text "ab" at 8.
fn module(lines: &str) -> String {
    format!(
        r#"(module {lines} (memory (export "memory") 1) (data (i32.const 8) "ab")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024)))"#
    )
}

fn load(text: &str) -> Result<Module, LoadError> {
    Module::from_bytes_uncached("hostile.wasm", text.as_bytes())
}

fn host(lines: &str, limits: Limits) -> Result<Host, StartError> {
    let plugin = Plugin::new(&load(&module(lines)).expect("it loads")).on_failure(FailurePolicy::reload());
    Host::builder().plugin(plugin).limits(limits).allow_misuse().start()
}

fn trapped(result: Result<Host, StartError>) -> VmFailure {
    match result.err().expect("it does not start") {
        StartError::Trapped { failure, .. } => failure,
        other => panic!("{other}"),
    }
}

/// The failure of the worker's VM after a request.
fn killed_by_a_request(lines: &str, limits: Limits) -> VmFailure {
    let mut host = host(lines, limits).expect("it starts");
    host.request(Request::get("/")).assert_status(503);
    let failure = host.vms().into_iter().find_map(|vm| vm.failure).expect("the VM is dead");
    // The host itself goes on.
    host.advance(Duration::from_secs(2));
    host.request(Request::get("/")).assert_status(503);
    failure
}

#[test]
fn an_endless_loop_in_the_start_section() {
    let limits = Limits { fuel_per_callback: 1_000_000, ..Limits::default() };
    let failure = trapped(host("(func $loop (loop (br 0))) (start $loop)", limits));
    assert_eq!((failure.kind, failure.callback), (FailureKind::OutOfFuel, Callback::Start));
    let failure = trapped(host("(func $trap unreachable) (start $trap)", limits));
    assert_eq!((failure.kind, failure.callback), (FailureKind::Trap, Callback::Start));
}

#[test]
fn hostcalls_in_the_start_section_find_no_memory() {
    let lines = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (func $go (if (i32.eqz (call $log (i32.const 2) (i32.const 8) (i32.const 2))) (then unreachable)))
        (start $go)"#;
    assert!(host(lines, Limits::default()).is_ok());
}

#[test]
fn a_loop_of_hostcalls_ends_before_the_trace_fills_the_machine() {
    let lines = r#"(import "env" "proxy_get_log_level" (func $level (param i32) (result i32)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (loop (drop (call $level (i32.const 0))) (br 0)) (i32.const 0))"#;
    let failure = killed_by_a_request(lines, Limits { hostcalls: 10_000, ..Limits::default() });
    assert_eq!((failure.kind, failure.callback), (FailureKind::HostLimit, Callback::RequestHeaders));
    assert!(failure.message.contains("more than 10000 hostcalls"), "{failure}");
}

#[test]
fn a_loop_of_wasi_calls_ends_too() {
    for (import, call) in [
        (r#""sched_yield" (func $call (result i32))"#, "(drop (call $call))"),
        (r#""proc_exit" (func $call (param i32))"#, "(call $call (i32.const 0))"),
    ] {
        let lines = format!(
            r#"(import "wasi_snapshot_preview1" {import})
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (loop {call} (br 0)) (i32.const 0))"#
        );
        let failure = killed_by_a_request(&lines, Limits { hostcalls: 10_000, ..Limits::default() });
        assert_eq!(failure.kind, FailureKind::HostLimit, "{failure}");
    }
}

#[test]
fn what_a_module_leaves_with_the_host_is_bounded() {
    // A queue is unbounded in Envoy too, but a test host must not take the machine down with it.
    let lines = r#"
        (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
        (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $register (i32.const 8) (i32.const 2) (i32.const 0)))
            (loop (drop (call $enqueue (i32.load (i32.const 0)) (i32.const 0) (i32.const 65536))) (br 0))
            (i32.const 0))"#;
    let failure = killed_by_a_request(lines, Limits { hostcall_bytes: 1 << 20, ..Limits::default() });
    assert_eq!(failure.kind, FailureKind::HostLimit);
    assert!(failure.message.contains("1048576 bytes"), "{failure}");
}

/// Every vector of a `fd_write` may name the whole memory: 8 bytes ask the host for 64 KiB.
#[test]
fn a_write_of_many_overlapping_vectors_is_not_gathered() {
    let lines = r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local i32)
            (loop
                (i32.store (local.get 3) (i32.const 0))
                (i32.store offset=4 (local.get 3) (i32.const 65536))
                (local.set 3 (i32.add (local.get 3) (i32.const 8)))
                (br_if 0 (i32.lt_u (local.get 3) (i32.const 65528))))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 8191) (i32.const 0)))
            (i32.const 0))"#;
    let failure = killed_by_a_request(lines, Limits { hostcall_bytes: 4 << 20, ..Limits::default() });
    assert_eq!(failure.kind, FailureKind::HostLimit, "{failure}");
}

/// The allocator calls the host, which calls the allocator, and so on.
#[test]
fn an_allocator_that_calls_the_host_again_ends_with_the_stack() {
    let text = r#"(module
        (import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 8) "plugin_name")
        (func (export "proxy_abi_version_0_2_1"))
        (func $malloc (export "malloc") (param i32) (result i32)
            (drop (call $get (i32.const 8) (i32.const 11) (i32.const 0) (i32.const 4))) (i32.const 1024))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $malloc (i32.const 1))))"#;
    let mut host =
        Host::builder().plugin(Plugin::new(&load(text).expect("it loads"))).start().expect("it starts");
    host.request(Request::get("/")).assert_status(503);
    let failure = host.vms().into_iter().find_map(|vm| vm.failure).expect("the VM is dead");
    assert_eq!(failure.kind, FailureKind::StackOverflow, "{failure}");
}

#[test]
fn tables_and_memories_beyond_reason() {
    for lines in [
        "(table 4294967295 funcref)".to_owned(),
        "(table 1 funcref)".repeat(17),
        "(table 2000000 funcref)".to_owned(),
    ] {
        let error = host(&lines, Limits::default()).err().expect("refused");
        assert!(matches!(error, StartError::Instantiate { .. }), "{error}");
    }
    for text in [
        module("(memory 1)"),
        module("").replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") i64 1)"#),
        module("").replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 1 1 shared)"#),
        module("").replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 70000)"#),
    ] {
        let error = load(&text).expect_err("refused");
        assert!(matches!(error, LoadError::NotWasm { .. }), "{error}");
    }
    // Data behind the memory's end is found when the module starts.
    let error = host(r#"(data (i32.const 65530) "too long")"#, Limits::default());
    assert_eq!(trapped(error).kind, FailureKind::Trap);
    // A module that grows is told that it may not, and lives.
    let grow = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.ne (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable)) (i32.const 0))"#;
    host(grow, Limits::default()).expect("it starts").request(Request::get("/")).assert_status(200);
}

/// A trap in each callback that a request or the world can bring about.
#[test]
fn traps_in_every_callback() {
    for (callback, parameters, result) in [
        ("proxy_on_context_create", 2, ""),
        ("proxy_on_vm_start", 2, "(result i32)"),
        ("proxy_on_configure", 2, "(result i32)"),
        ("proxy_on_request_headers", 3, "(result i32)"),
        ("proxy_on_request_body", 3, "(result i32)"),
        ("proxy_on_request_trailers", 2, "(result i32)"),
        ("proxy_on_response_headers", 3, "(result i32)"),
        ("proxy_on_response_body", 3, "(result i32)"),
        ("proxy_on_response_trailers", 2, "(result i32)"),
        ("proxy_on_log", 1, ""),
        ("proxy_on_done", 1, "(result i32)"),
        ("proxy_on_delete", 1, ""),
    ] {
        let lines = format!(
            r#"(func (export "{callback}") (param {}) {result} unreachable)"#,
            "i32 ".repeat(parameters)
        );
        let Ok(mut host) = host(&lines, Limits::default()) else {
            let starts = ["proxy_on_context_create", "proxy_on_vm_start", "proxy_on_configure"];
            assert!(starts.contains(&callback), "{callback}");
            continue;
        };
        let answer = portcullis_testhost::Answer::ok().chunk("a").trailer("x-t", "1");
        host.set_upstream(answer);
        let exchange = host.request(Request::post("/").chunk("b").trailer("x-t", "1"));
        assert!(exchange.is_over(), "{callback}: {exchange}");
        let failure = host.vms().into_iter().find_map(|vm| vm.failure);
        assert!(failure.is_some_and(|failure| failure.callback.name() == callback), "{callback}");
        host.reconfigure(0, "x").expect("the canary is fine");
        host.shut_down();
    }
}

/// Calls for a context of another stream, or of none.
#[test]
fn a_module_that_acts_for_other_streams() {
    let script = "request_headers: return 1";
    let mut host = common::scripted(script).allow_misuse().start().expect("it starts");
    let first = host.request(Request::get("/first"));
    first.assert_paused();
    // Contexts are numbered from 1 (the root); the first stream is 2.
    let other = "request_headers: effective 2; request_headers: continue 0; request_headers: effective 99; \
                 request_headers: reply 403 d b -1";
    let second = host.request(Request::get("/second").header("x-script", other));
    first.assert_status(403);
    assert!(second.is_paused() || second.is_over());
}
