//! Where a request's time goes: hostcalls per request, and what one costs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::{Value, json};

use crate::envoy::{Envoy, Launch};
use crate::error::{BenchError, Result};
use crate::filters::Chain;
use crate::open_loop::{self, Plan};
use crate::probe::{Probe, probes};
use crate::setup::Setup;
use crate::stats::Spread;
use crate::trace::{self, Site};
use crate::world::Algorithm;
use crate::wrk::Feed;

/// Requests that are traced.
const TRACED: u32 = 400;

/// The breakdown: counts, and costs where they were measured.
pub(crate) struct Breakdown {
    counts: BTreeMap<Site, f64>,
    costs: BTreeMap<&'static str, f64>,
    context_us: Option<f64>,
}

impl Breakdown {
    /// Counts the hostcalls of requests with a cached credential, and unless the run is quick times each
    /// kind of call.
    ///
    /// # Errors
    /// When an Envoy fails.
    pub(crate) fn measure(setup: &Setup) -> Result<Self> {
        let counts = counts(setup)?;
        let (context_us, costs) = if setup.effort.quick { (None, BTreeMap::new()) } else { costs(setup)? };
        Ok(Self { counts, costs, context_us })
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from("calls of a request with a cached credential, audit delivery included\n");
        let line = |out: &mut String, name: &str, count: f64, cost: Option<f64>| {
            let each = cost.map_or(String::new(), |c| format!("{c:.2} µs"));
            let total = cost.map_or(String::new(), |c| format!("{:.2} µs", c * count));
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {name:<44} {count:>7.2}  {each:>9} {total:>9}");
        };
        if let Some(cost) = self.context_us {
            line(&mut out, "a context that does nothing", 1.0, Some(cost));
        }
        let mut sum = self.context_us.unwrap_or_default();
        for (site, count) in &self.counts {
            let cost = self.costs.get(site.call.as_str()).copied();
            let name = if site.call.is_empty() { site.callback.clone() } else { format!("  {}", site.call) };
            line(&mut out, &name, *count, cost);
            sum += cost.unwrap_or_default() * count;
        }
        if !self.costs.is_empty() {
            line(&mut out, "sum of what was timed", 1.0, Some(sum));
        }
        let made = |label: &str| self.counts.keys().any(|site| site.call == label);
        let others: Vec<_> = self.costs.iter().filter(|(label, _)| !made(label)).collect();
        if !others.is_empty() {
            out.push_str("calls that it does not make, for comparison\n");
        }
        for (label, cost) in others {
            let _ = writeln!(out, "  {label:<44} {:>7}  {cost:>6.2} µs", "");
        }
        out
    }

    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        let calls: Vec<Value> = self
            .counts
            .iter()
            .map(|(site, count)| {
                json!({"callback": site.callback, "call": site.call, "per_request": count,
                    "cost_us": self.costs.get(site.call.as_str())})
            })
            .collect();
        json!({"calls": calls, "costs_us": self.costs, "context_us": self.context_us})
    }
}

/// Calls per request, on the worker's thread.
fn counts(setup: &Setup) -> Result<BTreeMap<Site, f64>> {
    let launch = Launch { trace: true, ..setup.launch() };
    let chains = [Chain::plugins("gateway", &["gateway"], &setup.wasm)];
    let mut envoy = Envoy::start("trace", &launch, &chains, &setup.api)?;
    let credentials = setup.world.tokens(Algorithm::Rs256, 1)?;
    let targets = [envoy.address("gateway")?];
    let mut traced = BTreeMap::new();
    // The first time verifies, mints and fills the caches.
    for _ in 0..2 {
        let begin = envoy.log_length();
        let plan = Plan {
            targets: &targets,
            credentials: &credentials,
            rate: f64::from(TRACED),
            connections: 4,
            duration: Duration::from_secs(1),
        };
        open_loop::run(&plan, |_| ControlFlow::Continue(()))?;
        setup.api.drain();
        envoy.check()?;
        let worker = envoy.worker_thread().unwrap_or_default();
        traced = trace::count(&envoy.log_from(begin)?, worker);
    }
    if traced.is_empty() {
        return Err(BenchError::invalid("the breakdown", "Envoy's log has no trace of its worker"));
    }
    Ok(traced.into_iter().map(|(site, count)| (site, f64::from(count) / f64::from(TRACED))).collect())
}

/// Microseconds of a context that does nothing, and of each call.
fn costs(setup: &Setup) -> Result<(Option<f64>, BTreeMap<&'static str, f64>)> {
    let mut chains = vec![Chain::bare()];
    let probes = probes(&setup.world)?;
    for probe in &probes {
        chains.push(Chain::probe(probe.name, &probe.write(&setup.dir)?));
    }
    let mut envoy = Envoy::start("probes", &setup.launch(), &chains, &setup.api)?;
    let feed = Feed::write(&setup.dir, "probes", &setup.world.tokens(Algorithm::Rs256, 1)?)?;
    let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for number in 0..=3 {
        for chain in &chains {
            let target = envoy.address(chain.name)?;
            let before = envoy.processor_ns();
            let round = setup.wrk.run(target, &feed, Duration::from_secs(1))?;
            if round.refused > 0.0 {
                return Err(BenchError::invalid(chain.name, "the call that is timed fails"));
            }
            let cost = (envoy.processor_ns() - before) as f64 / 1e3 / round.requests;
            // The first round only warms up.
            if number > 0 {
                samples.entry(chain.name).or_default().push(cost);
            }
        }
        envoy.check()?;
    }
    let median = |name: &str| samples.get(name).and_then(|s| Spread::of(s)).map_or(0.0, |s| s.median);
    let mut probes = probes.iter();
    let nothing = probes.next().map_or(0.0, |probe| median(probe.name));
    let cost = |probe: &Probe| {
        let cost = (median(probe.name) - nothing) / f64::from(probe.repeat.max(1));
        (probe.label, cost.max(0.0))
    };
    Ok((Some(nothing - median("bare")), probes.map(cost).collect()))
}
