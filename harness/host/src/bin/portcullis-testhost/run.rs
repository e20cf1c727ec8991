//! `run`: plays a scenario.

use std::path::Path;
use std::time::Duration;

use portcullis_testhost::{Exchange, Host, Metric};

use crate::answers::Unanswered;
use crate::out::say;
use crate::scenario::{Expect, MetricValue, Scenario, ScenarioError, Step, text};

/// Plays the scenario; true if every expectation was met.
pub(crate) fn run(path: &Path, given: &[String], quiet: bool) -> Result<bool, ScenarioError> {
    let scenario = Scenario::read(path)?;
    let modules = scenario.modules(path, given)?;
    let unanswered = Unanswered::default();
    let mut host = scenario.world(&modules, &unanswered)?.start()?;
    for failure in host.start_failures() {
        say!("! plugin {} is left out on {}: {}", failure.plugin, failure.vm, failure.error);
    }
    let mut told = Told { quiet, lines: 0, clusters: 0 };
    told.tell(&host);
    let mut last = None;
    let mut unmet = 0;
    for (at, step) in scenario.steps.iter().enumerate() {
        let (done, refused) = act(&mut host, &scenario, step, &mut last)?;
        say!("step {}: {done}", at + 1);
        if let Some(exchange) =
            last.as_ref().filter(|_| !quiet && (step.request.is_some() || step.expect.is_some()))
        {
            for line in exchange.to_string().lines() {
                say!("    {line}");
            }
        }
        told.tell(&host);
        let failures = check(&host, step, last.as_ref()).into_iter().chain(refused).chain(unanswered.take());
        for failure in failures {
            unmet += 1;
            say!("  ✗ {failure}");
        }
    }
    let misuse = host.take_misuse();
    for misuse in &misuse {
        say!("misuse of the ABI: {misuse}");
    }
    let metrics = host.metrics().to_string();
    if !quiet && !metrics.is_empty() {
        say!("metrics:");
        metrics.lines().for_each(|line| say!("    {line}"));
    }
    let good = unmet == 0 && (misuse.is_empty() || scenario.allow_misuse);
    say!("{}", if good { "every expectation was met" } else { "FAILED" });
    Ok(good)
}

/// What was told already of what happened beside the exchanges.
struct Told {
    quiet: bool,
    lines: usize,
    clusters: usize,
}

impl Told {
    /// Tells what modules logged outside of exchanges since the last time, and which clusters there are not.
    fn tell(&mut self, host: &Host) {
        let logs = host.logs();
        for line in logs.iter().skip(self.lines).filter(|line| !self.quiet && !line.is_of_exchange()) {
            say!("    log: {line}");
        }
        self.lines = logs.len();
        let unknown = host.unknown_clusters();
        for name in unknown.iter().skip(self.clusters) {
            say!(
                "  ! a plugin calls the cluster {name:?}, which the scenario does not have: add it under `clusters`"
            );
        }
        self.clusters = unknown.len();
    }
}

/// Does what the step says, and names it; and what is wrong with how a new configuration was taken.
fn act(
    host: &mut Host,
    scenario: &Scenario,
    step: &Step,
    last: &mut Option<Exchange>,
) -> Result<(String, Option<String>), ScenarioError> {
    let mut done = Vec::new();
    let mut failure = None;
    if let Some(config) = &step.reconfigure {
        let taken = host.reconfigure(scenario.plugin_of(step), text("to be reconfigured", config)?);
        done.push("new configuration".to_owned());
        match (taken, &step.expect_refused) {
            (Err(error), None) => return Err(error.into()),
            (Ok(()), Some(_)) => failure = Some("the new configuration was not refused".to_owned()),
            (Err(error), Some(part)) => {
                let message = error.to_string();
                done.push(format!("refused: {message}"));
                if !message.contains(part.as_str()) {
                    failure = Some(format!("the refusal does not contain {part:?}"));
                }
            }
            (Ok(()), None) => {}
        }
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
    Ok((done.join(", "), failure))
}

/// What the step expected and did not find.
fn check(host: &Host, step: &Step, last: Option<&Exchange>) -> Vec<String> {
    let mut failures = Vec::new();
    if let Some(text) = &step.expect_log
        && !host.logs().iter().any(|line| line.message.contains(text))
    {
        failures.push(format!("no log line contains {text:?}; {}", logged(host)));
    }
    let metrics = host.metrics();
    for (name, expected) in &step.expect_metrics {
        let found = metrics.get(name).map(|metric| match metric {
            Metric::Counter(value) | Metric::Gauge(value) => MetricValue::One(*value),
            Metric::Histogram(values) => MetricValue::Recorded(values.clone()),
        });
        if found != *expected {
            let shown = |value: &Option<MetricValue>| match value {
                None => "none".to_owned(),
                Some(MetricValue::One(value)) => value.to_string(),
                Some(MetricValue::Recorded(values)) => format!("{values:?}"),
            };
            failures.push(format!("metric {name}: expected {}, found {}", shown(expected), shown(&found)));
        }
    }
    match (&step.expect, last) {
        (Some(expect), Some(exchange)) => failures.extend(compare(expect, exchange)),
        (Some(_), None) => failures.push("there was no request yet".to_owned()),
        (None, _) => {}
    }
    failures
}

/// How much of the log is shown where a line is missing.
const SHOWN: usize = 20;

/// What was logged so far, the last lines of it.
fn logged(host: &Host) -> String {
    let logs = host.logs();
    if logs.is_empty() {
        return "nothing was logged".to_owned();
    }
    let before = logs.len().saturating_sub(SHOWN);
    let first = if before > 0 { format!(" (and {before} lines before)") } else { String::new() };
    let lines: String = logs.iter().skip(before).map(|line| format!("\n      {line}")).collect();
    format!("logged so far{first}:{lines}")
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
