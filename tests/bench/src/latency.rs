//! Added latency with a worker that is half busy by processor time.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::envoy::Envoy;
use crate::error::{BenchError, Result};
use crate::open_loop::{self, Plan};
use crate::report::{Report, Target};
use crate::setup::Setup;
use crate::world::{Algorithm, Credential};
use crate::wrk::CONNECTIONS;

/// A chain, and what its numbers are called. Targets: added microseconds at the median and at the 99th percentile.
struct Subject {
    chain: &'static str,
    name: &'static str,
    targets: (Option<Target>, Option<Target>),
}

const SUBJECTS: [Subject; 3] = [
    Subject { chain: "native-cache", name: "native cache: ", targets: (None, None) },
    Subject {
        chain: "gateway",
        name: "gateway_",
        targets: (Some(Target::AtMost(25.0)), Some(Target::AtMost(150.0))),
    },
    Subject {
        chain: "native-gateway",
        name: "native_gateway_",
        targets: (Some(Target::AtMost(10.0)), Some(Target::AtMost(150.0))),
    },
];

/// What counts as a pause: so long does no request take by itself.
const PAUSE_US: u64 = 1_000;

/// How busy the worker is, by processor time.
const BUSY: f64 = 0.5;

/// Measures round by round, each chain at the rate at which its own worker is half busy: at one rate for all,
/// the slower chain would wait for itself more often.
///
/// # Errors
/// When an answer was not 200 or the rate could not be kept.
pub(crate) fn measure(setup: &Setup, envoy: &mut Envoy, saturation: f64, report: &mut Report) -> Result<()> {
    let credentials = setup.world.tokens(Algorithm::Rs256, 1)?;
    let length = if setup.effort.quick { Duration::from_secs(1) } else { Duration::from_secs(4) };
    let at = |envoy: &mut Envoy, chain| half_busy(setup, envoy, chain, &credentials, saturation / 2.0);
    let bare_rate = at(envoy, "bare")?;
    let mut rates = Vec::new();
    for subject in &SUBJECTS {
        rates.push(at(envoy, subject.chain)?);
    }
    let (mut bare, mut rows) = (Vec::new(), SUBJECTS.map(|_| Vec::new()));
    for _ in 0..setup.effort.rounds {
        let base = quantiles(setup, envoy, "bare", &credentials, bare_rate, length)?;
        for ((subject, rate), rows) in SUBJECTS.iter().zip(&rates).zip(&mut rows) {
            rows.push(quantiles(setup, envoy, subject.chain, &credentials, *rate, length)?.over(base));
        }
        bare.push(base);
    }
    let inputs = |rate: f64| {
        json!({"rate": rate.round(), "busy": BUSY, "connections": CONNECTIONS, "round_s": length.as_secs(),
               "rounds": setup.effort.rounds})
    };
    for ((subject, rate), rows) in SUBJECTS.iter().zip(rates).zip(&rows) {
        let name = |what: &str| [subject.name, what].concat();
        let column = |pick: fn(&Quantiles) -> f64| rows.iter().map(pick).collect::<Vec<f64>>();
        report.add_rounds(&name("added_p50_us"), &column(|q| q.p50), "µs", subject.targets.0, inputs(rate));
        report.add_rounds(&name("added_p99_us"), &column(|q| q.p99), "µs", subject.targets.1, inputs(rate));
        report.add_rounds(&name("added_p999_us"), &column(|q| q.p999), "µs", None, inputs(rate));
        report.add_rounds(&name("added pauses"), &column(|q| q.pauses), "‰", None, inputs(rate));
    }
    let column = |pick: fn(&Quantiles) -> f64| bare.iter().map(pick).collect::<Vec<f64>>();
    report.add_rounds("bare p50", &column(|q| q.p50), "µs", None, inputs(bare_rate));
    report.add_rounds("bare p99", &column(|q| q.p99), "µs", None, inputs(bare_rate));
    report.add_rounds("bare p99.9", &column(|q| q.p999), "µs", None, inputs(bare_rate));
    report.add_rounds("bare pauses", &column(|q| q.pauses), "‰", None, inputs(bare_rate));
    Ok(())
}

/// The rate at which the worker is half busy, found by trying: what a request costs depends on the rate.
fn half_busy(
    setup: &Setup,
    envoy: &mut Envoy,
    chain: &'static str,
    credentials: &[Credential],
    first: f64,
) -> Result<f64> {
    let mut rate = first;
    for _ in 0..3 {
        let (used, begun) = (envoy.worker_ns(), Instant::now());
        quantiles(setup, envoy, chain, credentials, rate, Duration::from_secs(1))?;
        let busy = (envoy.worker_ns() - used) as f64 / begun.elapsed().as_nanos() as f64;
        rate *= (BUSY / busy.max(0.01)).clamp(0.25, 4.0);
    }
    Ok(rate)
}

/// Microseconds, and requests of a thousand that met a pause.
#[derive(Debug, Clone, Copy)]
struct Quantiles {
    p50: f64,
    p99: f64,
    p999: f64,
    pauses: f64,
}

impl Quantiles {
    fn over(self, base: Self) -> Self {
        Self {
            p50: self.p50 - base.p50,
            p99: self.p99 - base.p99,
            p999: self.p999 - base.p999,
            pauses: self.pauses - base.pauses,
        }
    }
}

fn quantiles(
    setup: &Setup,
    envoy: &mut Envoy,
    chain: &str,
    credentials: &[Credential],
    rate: f64,
    duration: Duration,
) -> Result<Quantiles> {
    setup.api.drain();
    let invalid = |why: String| BenchError::invalid(format!("latency of {chain}"), why);
    // Three digits up to a minute, in nanoseconds.
    let mut histogram: Histogram<u64> =
        Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(|e| invalid(e.to_string()))?;
    let mut refused = 0_u32;
    let targets = [envoy.address(chain)?];
    let plan = Plan { targets: &targets, credentials, rate, connections: CONNECTIONS, duration };
    open_loop::run(&plan, |answer| {
        refused += u32::from(answer.status != 200);
        histogram.saturating_record(u64::try_from(answer.latency.as_nanos()).unwrap_or(u64::MAX));
        ControlFlow::Continue(())
    })?;
    envoy.check()?;
    if refused > 0 {
        return Err(invalid(format!("{refused} of {} requests were refused", histogram.len())));
    }
    let at = |q| histogram.value_at_quantile(q) as f64 / 1e3;
    let paused = histogram.len() - histogram.count_between(0, PAUSE_US * 1_000);
    let pauses = 1e3 * paused as f64 / histogram.len().max(1) as f64;
    Ok(Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), pauses })
}
