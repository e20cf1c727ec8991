//! Loads and runs changed modules for a bounded time:
//! `cargo run --release -p portcullis-testhost --example fuzz_modules [SECONDS [SEED]]`. A module that makes
//! the host panic or hang is written to `tests/fuzz-inputs/`, and the exit code is 1.

#[path = "../tests/fuzz/mod.rs"]
mod target;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_testhost::Module;
use portcullis_testhost::fuzz::Mutator;

/// The longest input.
const MAX: usize = 64 * 1024;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().map(|text| text.parse::<u64>().expect("a whole number"));
    let seconds = number().unwrap_or(60);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = number().unwrap_or(now);
    println!("modules: {seconds} s, seed {seed} (give both to repeat this run)");
    let examples = target::examples();
    let mut mutator = Mutator::new(seed).words(target::STATEMENTS);
    let (began, mut inputs, mut loaded) = (Instant::now(), 0_u64, 0_u64);
    let mut found = false;
    while began.elapsed() < Duration::from_secs(seconds) && !found {
        let input = match mutator.below(3) {
            0 => mutator.mutate(&examples, MAX),
            _ => target::odd_module(&mut mutator),
        };
        inputs += 1;
        loaded += u64::from(Module::from_bytes_uncached("fuzzed.wasm", &input).is_ok());
        if let Err(broken) = target::check(&input) {
            let name = format!("module-{seed}-{inputs}");
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz-inputs");
            std::fs::write(folder.join(&name), &input).expect("the input is written");
            println!("{name}: {broken}");
            found = true;
        }
    }
    println!("modules: {inputs} inputs, {loaded} of them loaded and ran");
    if found { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
