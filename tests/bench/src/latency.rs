//! Added latency at half the load that saturates the gateway.

use std::ops::ControlFlow;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;

use crate::envoy::Envoy;
use crate::error::{BenchError, Result};
use crate::open_loop::{self, Plan};
use crate::report::{Report, Target};
use crate::setup::Setup;
use crate::world::{Algorithm, Credential};
use crate::wrk::CONNECTIONS;

/// Measures, round by round: bare, native, gateway at the same rate.
///
/// # Errors
/// When an answer was not 200 or the rate could not be kept.
pub(crate) fn measure(setup: &Setup, envoy: &mut Envoy, saturation: f64, report: &mut Report) -> Result<()> {
    let rate = saturation / 2.0;
    let credentials = setup.world.tokens(Algorithm::Rs256, 1)?;
    let length = if setup.effort.quick { Duration::from_secs(1) } else { Duration::from_secs(4) };
    let (mut added, mut native, mut absolute) = (Columns::default(), Columns::default(), Columns::default());
    for _ in 0..setup.effort.rounds {
        let mut one = |chain| quantiles(setup, envoy, chain, &credentials, rate, length);
        let (bare, cached, gateway) = (one("bare")?, one("native-cache")?, one("gateway")?);
        added.push(gateway.map_over(bare));
        native.push(cached.map_over(bare));
        absolute.push(bare);
    }
    let inputs = json!({
        "rate": rate.round(), "saturation_rate": saturation.round(), "connections": CONNECTIONS,
        "round_s": length.as_secs(), "rounds": setup.effort.rounds,
    });
    report.add_rounds("added_p50_us", &added.p50, "µs", Some(Target::AtMost(30.0)), inputs.clone());
    report.add_rounds("added_p99_us", &added.p99, "µs", Some(Target::AtMost(150.0)), inputs.clone());
    report.add_rounds("native cache: added p50", &native.p50, "µs", None, inputs.clone());
    report.add_rounds("native cache: added p99", &native.p99, "µs", None, inputs.clone());
    report.add_rounds("bare p50", &absolute.p50, "µs", None, inputs.clone());
    report.add_rounds("bare p99", &absolute.p99, "µs", None, inputs);
    Ok(())
}

/// Microseconds.
#[derive(Debug, Clone, Copy)]
struct Quantiles {
    p50: f64,
    p99: f64,
}

impl Quantiles {
    fn map_over(self, base: Self) -> Self {
        Self { p50: self.p50 - base.p50, p99: self.p99 - base.p99 }
    }
}

#[derive(Debug, Default)]
struct Columns {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Columns {
    fn push(&mut self, row: Quantiles) {
        self.p50.push(row.p50);
        self.p99.push(row.p99);
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
    Ok(Quantiles { p50: at(0.5), p99: at(0.99) })
}
