//! How fast requests go through the `gateway` plugin in the test host, on one thread, and how long a host
//! with an already compiled module takes to start: `cargo run --release -p portcullis-plugin --example
//! testhost_speed [SECONDS]`. The last line is JSON for `make bench`.

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::{Duration, Instant};

use portcullis_testhost::{Host, Module, Upstream};
use serde_json::json;
use world::{UPSTREAM, World, config, good, plugin};

/// Requests between two looks at the clock; after each round the audit records are taken away.
const ROUND: usize = 200;

/// Where `world` builds the module.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/wasm32-wasip1/wasm/portcullis.wasm");

/// The median of 21 runs in milliseconds.
fn median(run: impl Fn()) -> f64 {
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(3);
    let entry = plugin("gateway", &config());
    let start_ms = median(|| {
        let host = Host::builder().plugin(entry.clone()).cluster(UPSTREAM, Upstream::manual()).start();
        drop(host.expect("the plugin starts"));
    });
    let bytes = std::fs::read(MODULE).expect("the module was built");
    let load_ms = median(|| drop(Module::from_bytes("portcullis.wasm", &bytes).expect("it loads")));

    let mut world = World::with(vec![entry], |builder| builder.without_trace());
    let request = good("acme-1");
    world.host.request(request.clone()).assert_status(200);
    let (mut count, mut spent) = (0_usize, Duration::ZERO);
    while spent < Duration::from_secs(seconds) {
        let began = Instant::now();
        for _ in 0..ROUND {
            let exchange = world.host.request(request.clone());
            assert!(exchange.is_over(), "{exchange}");
        }
        spent += began.elapsed();
        count += ROUND;
        world.settle();
        world.records.clear();
        world.host.clear_history();
    }
    let rate = count as f64 / spent.as_secs_f64();
    println!(
        "module from the cache on disk: {load_ms:.2} ms, host start: {start_ms:.2} ms (medians; target < 5)"
    );
    println!("gateway: {rate:.0} requests/s on one thread (target ≥ 20,000)");
    println!(
        "{}",
        json!({"testhost_load_ms": load_ms, "testhost_start_ms": start_ms, "testhost_requests_per_s": rate})
    );
}
