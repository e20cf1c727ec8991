//! Feeds both modules, in the test host, with changed inputs for a bounded time:
//! `cargo run --release -p portcullis-proxy-wasm --example fuzz [SECONDS [SEED]]`. An input that breaks a
//! promise is written to `tests/fuzz-inputs/`, where `fuzz_regressions.rs` replays it, and the exit code
//! is 1.

#[path = "../tests/targets/mod.rs"]
mod targets;
#[path = "../tests/world/mod.rs"]
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_testhost::fuzz::Mutator;
use targets::Target;
use world::Target as On;

/// The longest input.
const MAX: usize = 64 * 1024;

/// The modules that are fed.
const ON: [On; 2] = [On::Wasm, On::Native];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().map(|text| text.parse::<u64>().expect("a whole number"));
    let seconds = number().unwrap_or(60);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = number().unwrap_or(now);
    println!("{seconds} s, seed {seed} (give both to repeat this run)");
    let kinds = u32::try_from(ON.len() * Target::ALL.len()).expect("few targets");
    let share = Duration::from_secs(seconds) / kinds;
    let mut found = false;
    for on in ON {
        for target in Target::ALL {
            world::on(on, || found |= !feed(on, target, seed, share));
        }
    }
    if found { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Feeds a module with inputs of a kind; `false` when one broke a promise.
fn feed(on: On, target: Target, seed: u64, share: Duration) -> bool {
    let examples = target.examples();
    let mut mutator = Mutator::new(seed).words(target.words());
    // The first one compiles the module, which is not to be taken off its time.
    let mut kept = examples.first().is_none_or(|good| target.check(good).is_ok());
    let (began, mut inputs) = (Instant::now(), 0_u64);
    while kept && began.elapsed() < share {
        let input = mutator.mutate(&examples, MAX);
        inputs += 1;
        if let Err(broken) = target.check(&input) {
            let name = format!("{}-{seed}-{inputs}", target.name());
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz-inputs");
            std::fs::write(folder.join(&name), &input).expect("the input is written");
            println!("{name} on {on:?}: {broken}");
            kept = false;
        }
    }
    println!("{} on {on:?}: {inputs} inputs", target.name());
    kept
}
