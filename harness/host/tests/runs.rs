//! What is the same in every run, and what is not when something else is asked for: randomness and fuel.

mod common;

use std::collections::BTreeSet;

use common::scripted;
use portcullis_testhost::{Host, Request};

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
