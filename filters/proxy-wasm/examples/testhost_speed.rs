//! How fast requests go through the `gateway` plugin in the test host, on one thread, and how long a start
//! takes when the module's compiled code is there already: in this process, and in a new one that takes it
//! from the disk. Besides, what a request with a cached token burns. The numbers are printed, and go into
//! `target/bench.json` beside those of `portcullis-bench`:
//! `cargo run --release -p portcullis-proxy-wasm --example testhost_speed [SECONDS]`.

#[path = "../tests/burnt/mod.rs"]
mod burnt;
#[path = "../tests/world/mod.rs"]
mod world;

use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_mesh::paths;
use portcullis_testhost::{Host, Module, Plugin, Upstream};
use serde_json::{Value, json};
use world::{UPSTREAM, World, config, good, plugin};

/// Requests between two looks at the clock; after each round the audit records are taken away.
const ROUND: usize = 200;

/// Starts of which the median is taken.
const STARTS: usize = 21;

/// What is to be reached.
enum Target {
    AtLeast(f64),
    AtMost(f64),
}
use Target::{AtLeast, AtMost};

/// Tells the program that it is the new process whose start is measured.
const START: &str = "--start";

fn main() {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some(START) {
        return start_in_a_new_process();
    }
    let seconds = argument.and_then(|seconds| seconds.parse().ok()).unwrap_or(3);
    let entry = plugin("gateway", &config());
    let wasm = entry.wasm();
    let compiled = (0..STARTS).map(|_| milliseconds(|| start(&wasm))).collect();
    let (from_disk, after_load) = (0..STARTS).map(|_| new_process()).unzip();
    let metrics = [
        ("gateway_cached_fuel", "units", AtMost(9_000.0), vec![cached_fuel()]),
        ("testhost_requests_per_s", "1/s", AtLeast(20_000.0), requests_per_second(entry, seconds)),
        ("testhost_start_compiled_ms", "ms", AtMost(5.0), compiled),
        ("testhost_load_from_disk_ms", "ms", AtMost(5.0), from_disk),
        ("testhost_start_after_load_ms", "ms", AtMost(5.0), after_load),
    ];
    record(metrics.into_iter().map(|(name, unit, target, samples)| metric(name, unit, target, samples)));
}

/// Rounds of requests through a gateway that has its snapshot.
fn requests_per_second(entry: world::Plugin, seconds: u64) -> Vec<f64> {
    let mut world = World::with(vec![entry], |builder| builder.without_trace());
    let request = good("acme-1");
    world.host.request(request.clone()).assert_status(200);
    let (mut rates, began) = (Vec::new(), Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) {
        let spent = milliseconds(|| {
            for _ in 0..ROUND {
                let exchange = world.host.request(request.clone());
                assert!(exchange.is_over(), "{exchange}");
            }
        });
        rates.push(ROUND as f64 * 1e3 / spent);
        world.settle();
        world.api.records.clear();
        world.host.clear_history();
    }
    rates
}

/// Units of fuel, about one per Wasm instruction, that a request with a cached token burns: the same on every
/// machine and in every run.
fn cached_fuel() -> f64 {
    let burnt = burnt::a_request(&mut World::gateway(), |world| {
        world.host.request(good("acme-1")).assert_status(200);
    });
    burnt.callbacks.values().map(|units| *units as f64).sum()
}

fn start(entry: &Plugin) {
    let host = Host::builder().plugin(entry.clone()).cluster(UPSTREAM, Upstream::manual()).start();
    drop(host.expect("the plugin starts"));
}

/// Loads the module, whose compiled code lies on the disk, and starts a host; prints how long each took.
fn start_in_a_new_process() {
    let path = paths::wasm_module();
    let mut loaded = None;
    let load = milliseconds(|| loaded = Module::from_file(&path).ok());
    let module = loaded.expect("the module loads");
    let entry = Plugin::new(&module).root_id("gateway").config(config().to_string());
    let entry = entry.env("PORTCULLIS_MESH_TOKEN", "mesh-token");
    println!("{load} {}", milliseconds(|| start(&entry)));
}

/// What a new process printed: loading, and starting a host.
fn new_process() -> (f64, f64) {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg(START).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    (numbers.next().expect("a number"), numbers.next().expect("a second number"))
}

fn milliseconds(run: impl FnOnce()) -> f64 {
    let began = Instant::now();
    run();
    began.elapsed().as_secs_f64() * 1e3
}

/// The median of the samples in the form of `portcullis-bench`; printed too.
fn metric(name: &str, unit: &str, target: Target, mut samples: Vec<f64>) -> (String, Value) {
    samples.sort_by(f64::total_cmp);
    let (least, median, greatest) = (samples[0], samples[samples.len() / 2], samples[samples.len() - 1]);
    let (met, target) = match target {
        AtLeast(bound) => (median >= bound, json!({"at_least": bound})),
        AtMost(bound) => (median <= bound, json!({"at_most": bound})),
    };
    let verdict = if met { "met" } else { "MISSED" };
    println!("{name:<32} {median:>10.2} {unit:<4} ({least:.2} … {greatest:.2}) {target} {verdict}");
    let spread = json!({"min": least, "median": median, "max": greatest});
    let inputs = json!({"plugin": "gateway", "threads": 1});
    let metric = json!({"value": median, "unit": unit, "target": target, "met": met, "spread": spread, "inputs": inputs});
    (name.to_owned(), metric)
}

/// Puts the numbers into the file; what else is in it stays.
fn record(metrics: impl Iterator<Item = (String, Value)>) {
    let path = paths::target().join("bench.json");
    let present = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut whole: Value = present.unwrap_or_else(|| json!({"metrics": {}}));
    for (name, metric) in metrics {
        whole["metrics"][name] = metric;
    }
    let text = serde_json::to_string_pretty(&whole).expect("JSON");
    std::fs::write(&path, text + "\n").expect("target/bench.json is written");
}
