//! `bench`: how fast do a scenario's requests go through?

use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_testhost::Request;

use crate::answers::Unanswered;
use crate::out::say;
use crate::scenario::{Scenario, ScenarioError};

/// Requests between two looks at the clock.
const ROUND: usize = 256;

/// Prints requests a second, and how long a start takes.
pub(crate) fn bench(path: &Path, given: &[String], seconds: u64) -> Result<bool, ScenarioError> {
    let scenario = Scenario::read(path)?;
    let began = Instant::now();
    let modules = scenario.modules(path, given)?;
    let loaded = began.elapsed();
    let began = Instant::now();
    let mut host = scenario.world(&modules, &Unanswered::default())?.without_trace().start()?;
    let started = began.elapsed();
    for milliseconds in scenario.steps.iter().filter_map(|step| step.advance_ms) {
        host.advance(Duration::from_millis(milliseconds));
    }
    let requests: Vec<Request> =
        scenario.steps.iter().filter_map(|step| step.request.as_ref()).map(|entry| entry.request()).collect();
    if requests.is_empty() {
        say!("the scenario has no request");
        return Ok(false);
    }
    let (mut count, began) = (0_usize, Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) {
        for request in requests.iter().cycle().take(ROUND) {
            host.request(request.clone());
        }
        host.clear_history();
        count += ROUND;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    say!("modules loaded (from the cache, if they were there): {:.2} ms", loaded.as_secs_f64() * 1e3);
    say!("host started: {:.2} ms", started.as_secs_f64() * 1e3);
    say!("{rate:.0} requests/s on one thread");
    Ok(true)
}
