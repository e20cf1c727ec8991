//! `run`: plays a scenario.

use std::path::Path;
use std::time::Duration;

use portcullis_testhost::{Exchange, Host};

use crate::scenario::{Expect, Scenario, ScenarioError, Step, text};

/// Plays the scenario; true if every expectation was met.
pub(crate) fn run(path: &Path, given: &[String], quiet: bool) -> Result<bool, ScenarioError> {
    let scenario = Scenario::read(path)?;
    let modules = scenario.modules(path, given)?;
    let mut host = scenario.world(&modules)?.start()?;
    for failure in host.start_failures() {
        println!("! plugin {} is left out on {}: {}", failure.plugin, failure.vm, failure.error);
    }
    let mut last = None;
    let mut unmet = 0;
    for (at, step) in scenario.steps.iter().enumerate() {
        println!("step {}: {}", at + 1, act(&mut host, &scenario, step, &mut last)?);
        if let Some(exchange) =
            last.as_ref().filter(|_| !quiet && (step.request.is_some() || step.expect.is_some()))
        {
            for line in exchange.to_string().lines() {
                println!("    {line}");
            }
        }
        for failure in check(&host, step, last.as_ref()) {
            unmet += 1;
            println!("  ✗ {failure}");
        }
    }
    let misuse = host.take_misuse();
    for misuse in &misuse {
        println!("misuse of the ABI: {misuse}");
    }
    let metrics = host.metrics().to_string();
    if !quiet && !metrics.is_empty() {
        println!("metrics:");
        metrics.lines().for_each(|line| println!("    {line}"));
    }
    let good = unmet == 0 && (misuse.is_empty() || scenario.allow_misuse);
    println!("{}", if good { "every expectation was met" } else { "FAILED" });
    Ok(good)
}

/// Does what the step says, and names it.
fn act(
    host: &mut Host,
    scenario: &Scenario,
    step: &Step,
    last: &mut Option<Exchange>,
) -> Result<String, ScenarioError> {
    let mut done = Vec::new();
    if let Some(config) = &step.reconfigure {
        host.reconfigure(scenario.plugin_of(step), text("to be reconfigured", config)?)?;
        done.push("new configuration".to_owned());
    }
    if step.drain {
        host.drain();
        done.push("drained".to_owned());
    }
    if let Some(entry) = &step.request {
        let request = entry.request();
        let named = |name: &str| request.headers.get(name).unwrap_or("?").to_owned();
        done.push(format!("{} {}", named(":method"), named(":path")));
        *last = Some(host.request(request));
    }
    if let Some(milliseconds) = step.advance_ms {
        host.advance(Duration::from_millis(milliseconds));
        done.push(format!("{milliseconds} ms pass"));
    }
    Ok(done.join(", "))
}

/// What the step expected and did not find.
fn check(host: &Host, step: &Step, last: Option<&Exchange>) -> Vec<String> {
    let mut failures = Vec::new();
    if let Some(text) = &step.expect_log
        && !host.logs().iter().any(|line| line.message.contains(text))
    {
        failures.push(format!("no log line contains {text:?}"));
    }
    match (&step.expect, last) {
        (Some(expect), Some(exchange)) => failures.extend(compare(expect, exchange)),
        (Some(_), None) => failures.push("there was no request yet".to_owned()),
        (None, _) => {}
    }
    failures
}

fn compare(expect: &Expect, exchange: &Exchange) -> Vec<String> {
    let mut failures = Vec::new();
    let mut differs = |what: &str, expected: String, found: String| {
        if expected != found {
            failures.push(format!("{what}: expected {expected}, found {found}"));
        }
    };
    if let Some(status) = expect.status {
        let found = exchange.status().map_or_else(|| "none".to_owned(), |status| status.to_string());
        differs("status", status.to_string(), found);
    }
    if let Some(forwarded) = expect.forwarded {
        differs("forwarded", forwarded.to_string(), exchange.upstream().is_some().to_string());
    }
    if let Some(waiting) = expect.waiting {
        differs("waiting", waiting.to_string(), exchange.is_paused().to_string());
    }
    let shown = |value: Option<&str>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:?}"));
    let (response, upstream) = (exchange.response(), exchange.upstream());
    for (side, seen, expected) in
        [("response", &response, &expect.response_headers), ("upstream", &upstream, &expect.upstream_headers)]
    {
        for (name, value) in expected {
            let found = seen.as_ref().and_then(|seen| seen.header(name));
            differs(&format!("{side} header {name}"), shown(value.as_deref()), shown(found));
        }
    }
    if let Some(part) = &expect.body_contains {
        let body = response.map(|seen| seen.text()).unwrap_or_default();
        if !body.contains(part) {
            failures.push(format!("the body does not contain {part:?}: {body:?}"));
        }
    }
    failures
}
