//! What is the same in every run, and what is not when something else is asked for: randomness and fuel.

mod common;

use std::collections::BTreeSet;

use common::scripted;
use portcullis_testhost::{Host, Module, Plugin, Request};

/// What a module takes for random: the host's `x-request-id`, and WASI's `random_get` on two workers.
fn randomness(seed: u64) -> Vec<String> {
    let script = "configure: random 16; request_headers: get 0 x-request-id; request_headers: random 16";
    let mut host = scripted(script).seed(seed).workers(2).start().unwrap();
    host.request(Request::get("/"));
    host.request(Request::get("/").on_worker(1));
    host.logs().into_iter().map(|line| line.message).collect()
}

#[test]
fn the_seed_decides_what_a_module_takes_for_random() {
    let (first, other) = (randomness(7), randomness(8));
    assert_eq!(first.len(), 4 + 2 * 2, "canary, main, two workers; then two requests: {first:?}");
    assert_eq!(first, randomness(7));
    let distinct: BTreeSet<_> = first.iter().chain(&other).map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(distinct.len(), first.len() + other.len(), "nothing comes twice: {first:?} {other:?}");
    assert_eq!(randomness(0), randomness(0));
    assert_ne!(randomness(0), randomness(u64::MAX));
}

/// The last and the greatest fuel of the worker's VM after a request with this script.
fn fuel(lines: usize) -> (u64, u64) {
    let mut host = scripted("log: note").start().unwrap();
    let worker = |host: &Host| host.vms().pop().unwrap();
    let started = worker(&host);
    assert!(started.last_fuel > 0 && started.peak_fuel >= started.last_fuel, "{started:?}");
    host.request(Request::get("/").header("x-script", "request_headers: get 0 :path;".repeat(lines)));
    let after = worker(&host);
    (after.last_fuel, after.peak_fuel)
}

#[test]
fn fuel_tells_what_a_callback_did() {
    let (last, small) = fuel(1);
    let (last_again, large) = fuel(100);
    assert!(last > 0 && small > last, "the request burns more than the deletion that comes last");
    assert!(last_again > 0 && large > small + 99 * 100, "{small} for one call, {large} for a hundred");
    assert_eq!(fuel(1), (last, small), "the same run burns the same");
    assert_eq!(fuel(100).1, large);
}

/// A module whose configuration is a loop in a function of its own.
const LOOPS: &str = r#"(module (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func $work (param i32)
        (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0))))
    (func $configure (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $work (i32.const 100)) (i32.const 1)))"#;

#[test]
fn a_profile_tells_what_each_function_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loops.wat");
    std::fs::write(&path, LOOPS).unwrap();
    let worker = |module: Module| {
        let host = Host::builder().plugin(Plugin::new(&module).name("loops")).start().unwrap();
        host.vms().pop().unwrap()
    };
    let plain = worker(Module::from_file(&path).unwrap());
    let profiled = worker(Module::profiled(&path).unwrap());
    assert!(plain.functions.is_empty());
    assert_eq!(profiled.fuel, plain.fuel, "it uses the same fuel");
    let names: Vec<&str> = profiled.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["work", "configure"]);
    assert!(profiled.functions[0].units > 500, "{profiled:?}");
    let by_function: u64 = profiled.functions.iter().map(|function| function.units).sum();
    let by_callback: u64 = plain.fuel.iter().map(|callback| callback.units).sum();
    assert_eq!(by_function, by_callback, "nothing is left out");
}
