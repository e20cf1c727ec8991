//! The fuzz target for modules: whatever the bytes are, loading and running them ends with a typed error or
//! a dead VM, in bounded time and memory. `examples/fuzz_modules.rs` makes inputs; `tests/fuzz_modules.rs`
//! replays those that once failed.
#![allow(dead_code, reason = "the fuzzer and the regression test use a part of it each")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use portcullis_testhost::fuzz::Mutator;
use portcullis_testhost::{Answer, FailurePolicy, Host, Limits, Module, Plugin, Request};

/// Far more than an input needs that keeps to the limits below.
const PATIENCE: Duration = Duration::from_secs(10);

const LIMITS: Limits = Limits {
    fuel_per_callback: 300_000,
    memory_bytes: 16 << 20,
    buffer_bytes: 64 << 10,
    hostcalls: 1_000,
    hostcall_bytes: 8 << 20,
    events: 100_000,
};

/// Good modules to start from, as text and as bytes.
pub(crate) fn examples() -> Vec<Vec<u8>> {
    let texts = [include_str!("../../examples/stamp.wat"), include_str!("busy.wat")];
    let bytes = texts.iter().map(|text| wat::parse_str(text).expect("the example is a module"));
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(bytes).collect()
}

/// Statements that make a module odd without making it invalid.
pub(crate) const STATEMENTS: &[&str] = &[
    "(loop (br 0))",
    "(drop (memory.grow (i32.const 1000)))",
    "(i32.store (i32.const 65532) (i32.const -1))",
    "(i32.store (i32.const 65533) (i32.const 1))",
    "(memory.fill (i32.const 128) (i32.const 255) (i32.const 9))",
    "(drop (call $get (i32.const 48) (i32.const 11) (i32.const 0) (i32.const 4)))",
    "(drop (call $get (i32.const 48) (i32.const -1) (i32.const 0) (i32.const 4)))",
    "(drop (call $get (i32.const 48) (i32.const 11) (i32.const -1) (i32.const 65535)))",
    "(drop (call $reply (i32.const 999) (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 0) (i32.const -1)))",
    "(drop (call $reply (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 128) (i32.const 61) (i32.const 5)))",
    "(drop (call $continue (i32.const 0)))",
    "(drop (call $continue (i32.const 1)))",
    "(drop (call $continue (i32.const 2)))",
    "(drop (call $effective (i32.const 1)))",
    "(drop (call $effective (i32.const 2)))",
    "(drop (call $effective (i32.const 3)))",
    "(drop (call $effective (i32.const 4)))",
    "(drop (call $tick (i32.const 0)))",
    "(drop (call $tick (i32.const 1)))",
    "(drop (call $tick (i32.const -1)))",
    "(drop (call $call (i32.const 64) (i32.const 2) (i32.const 128) (i32.const 61) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)))",
    "(drop (call $call (i32.const 64) (i32.const 2) (i32.const 128) (i32.const 61) (i32.const 0) (i32.const 60000) (i32.const 128) (i32.const 61) (i32.const -1) (i32.const 32)))",
    "(drop (call $body (i32.const 0) (i32.const 0) (i32.const 99999) (i32.const 0) (i32.const 4)))",
    "(drop (call $body (i32.const 7) (i32.const -1) (i32.const -1) (i32.const 0) (i32.const 4)))",
    "(drop (call $set_body (i32.const 0) (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 65536)))",
    "(drop (call $set_body (i32.const 1) (i32.const 99) (i32.const 0) (i32.const 0) (i32.const 9)))",
    "(drop (call $pairs (i32.const 2) (i32.const 0) (i32.const 4)))",
    "(drop (call $set_pairs (i32.const 0) (i32.const 0) (i32.const 0)))",
    "(drop (call $set_pairs (i32.const 2) (i32.const 128) (i32.const 61)))",
    "(drop (call $set_pairs (i32.const 0) (i32.const 0) (i32.const 60000)))",
    "(drop (call $enqueue (i32.load (i32.const 40)) (i32.const 0) (i32.const 65536)))",
    "(drop (call $done))",
    "(call $exit (i32.const 3))",
    "(call $once)",
    "(return (i32.const 3))",
    "(return (i32.const -1))",
    "(return)",
    "(unreachable)",
];

/// The busy module with some statements more, at the beginning of some of its functions; and sometimes
/// with other words in the place of its own.
pub(crate) fn odd_module(mutator: &mut Mutator) -> Vec<u8> {
    let mut text = include_str!("busy.wat").to_owned();
    for _ in 0..=mutator.below(5) {
        let bodies: Vec<usize> =
            text.match_indices("(result i32)\n").map(|(at, what)| at + what.len()).collect();
        let plain = text.match_indices("(param i32)\n").map(|(at, what)| at + what.len());
        let bodies: Vec<usize> = bodies.into_iter().chain(plain).collect();
        let at = bodies[mutator.below(bodies.len())];
        let statement = STATEMENTS[mutator.below(STATEMENTS.len())];
        text.insert_str(at, &format!("    {statement}\n"));
    }
    for (from, to) in [
        ("(func $once)", "(func $once (call $once))"),
        ("(func $once)", "(func $once (drop (call $continue (i32.const 0))))"),
        ("(memory (export \"memory\") 1)", "(memory (export \"memory\") 65536)"),
        ("(memory (export \"memory\") 1)", "(memory (export \"memory\") 1 1) (table 100000 funcref)"),
        ("(data (i32.const 48)", "(data (i32.const 65530)"),
        ("(func $once)", "(func $once) (start $once)"),
        ("proxy_on_memory_allocate", "malloc"),
        ("(i32.const 60000)", "(i32.const 6000000)"),
        ("(i32.sub (i32.const 1) (local.get 2))", "(i32.const 1)"),
        ("\\03\\00\\00\\00\\07", "\\ff\\00\\00\\00\\07"),
    ] {
        if mutator.below(8) == 0 {
            text = text.replace(from, to);
        }
    }
    text.into_bytes()
}

/// Loads the module and, if that works, takes it through a life.
pub(crate) fn check(input: &[u8]) -> Result<(), String> {
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| live(input)));
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        return Err(format!("a panic: {}", text.unwrap_or_default()));
    }
    let took = began.elapsed();
    if took > PATIENCE { Err(format!("it took {took:?}")) } else { Ok(()) }
}

fn live(input: &[u8]) {
    let Ok(module) = Module::from_bytes_uncached("fuzzed.wasm", input) else { return };
    let plugin = |config: &str| {
        Plugin::new(&module)
            .config(config)
            .on_failure(FailurePolicy::Reload { backoff: Duration::from_millis(100) })
    };
    let host = Host::builder()
        .plugin(plugin("one"))
        .plugin(plugin("two").root_id("two"))
        .cluster("up", Answer::ok().body("answer").after(Duration::from_millis(1)))
        .upstream(Answer::ok().chunk("some").chunk("thing").trailer("x-t", "1"))
        .limits(LIMITS)
        .allow_misuse()
        .start();
    let Ok(mut host) = host else { return };
    let first = host.request(Request::post("/a?b").chunk("one").chunk("two").trailer("x-t", "1"));
    let open = host.request(Request::post("/b").stay_open());
    host.advance(Duration::from_millis(20));
    host.send_body(&open, "part");
    host.end_request(&open);
    let _ = host.reconfigure(0, "three");
    host.advance(Duration::from_millis(200));
    let second = host.request(Request::get("/"));
    host.advance(Duration::from_millis(200));
    host.disconnect(&second);
    host.drain();
    host.shut_down();
    // What a failing test would print.
    assert!(!format!("{first}{open}{second}").is_empty());
}
