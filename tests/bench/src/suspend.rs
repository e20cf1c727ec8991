//! From the moment a cluster's suspension is published to the last request that was let through to it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use portcullis_model::decision::ClusterState;
use serde_json::json;

use crate::envoy::{Envoy, Launch};
use crate::error::{BenchError, Result};
use crate::filters::Chain;
use crate::mesh_api::MeshApi;
use crate::open_loop::{self, Answer, Plan};
use crate::report::{Report, Target};
use crate::setup::{API_KEYS, CLUSTERS, Setup};
use crate::stats::quantile;
use crate::world::{Algorithm, cluster_record};

/// Gateways, and workers of each.
const GATEWAYS: usize = 2;
const WORKERS: usize = 2;

/// Part of the saturation rate that is offered.
const LOAD: f64 = 0.3;

/// Without a request let through for so long, the suspension is everywhere.
const QUIET: Duration = Duration::from_millis(200);

/// Answered for so long without a refusal, the resumption is everywhere.
const STEADY: Duration = Duration::from_millis(100);

/// Measures the tries.
///
/// # Errors
/// When a gateway fails, or the load could not be kept up.
pub(crate) fn measure(setup: &Setup, saturation: f64, report: &mut Report) -> Result<()> {
    let api = MeshApi::start(setup.world.records(CLUSTERS, API_KEYS))?;
    let launch = Launch { workers: WORKERS, ..setup.launch() };
    let chains = [Chain::plugins("gateway", &["gateway"], &setup.wasm)];
    let gateways = (0..GATEWAYS)
        .map(|n| Envoy::start(&format!("suspend-{n}"), &launch, &chains, &api))
        .collect::<Result<Vec<_>>>()?;
    if !api.await_readers(GATEWAYS * WORKERS) {
        return Err(BenchError::invalid("suspend_p99_ms", "not every worker has the snapshot"));
    }
    let targets = gateways.iter().map(|g| g.address("gateway")).collect::<Result<Vec<_>>>()?;
    let rate = saturation * LOAD;
    let tries = if setup.effort.quick { 12 } else { 200 };
    let credentials = setup.world.tokens(Algorithm::Rs256, 1)?;
    let plan = Plan {
        targets: &targets,
        credentials: &credentials,
        rate,
        connections: 32,
        duration: Duration::from_secs(2 * tries),
    };
    let mut trial = Trial::new(&api, tries as usize);
    open_loop::run(&plan, |answer| trial.on_answer(answer))?;
    let mut times = trial.times;
    if times.len() < tries as usize {
        let why = format!("only {} of {tries} tries came to an end", times.len());
        return Err(BenchError::invalid("suspend_p99_ms", why));
    }
    times.sort_by(f64::total_cmp);
    let inputs = json!({
        "tries": tries, "gateways": GATEWAYS, "workers_each": WORKERS, "rate": rate.round(),
        "p50_ms": quantile(&times, 0.5), "max_ms": times.last(),
    });
    let p99 = quantile(&times, 0.99).unwrap_or_default();
    report.add("suspend_p99_ms", p99, "ms", Some(Target::AtMost(50.0)), inputs.clone());
    report.add("suspend p50", quantile(&times, 0.5).unwrap_or_default(), "ms", None, inputs);
    Ok(())
}

enum State {
    /// Everything is let through since then.
    Open(Instant),
    /// Suspended then; the last request that was let through all the same.
    Closing { suspended: Instant, last: Option<Instant> },
}

struct Trial<'a> {
    api: &'a MeshApi,
    wanted: usize,
    state: State,
    /// Milliseconds of each try.
    times: Vec<f64>,
}

impl<'a> Trial<'a> {
    fn new(api: &'a MeshApi, wanted: usize) -> Self {
        Self { api, wanted, state: State::Open(Instant::now()), times: Vec::new() }
    }

    fn set(&self, state: ClusterState) {
        self.api.change(vec![cluster_record(0, state)]);
    }

    fn on_answer(&mut self, answer: Answer) -> ControlFlow<()> {
        let through = answer.status == 200;
        match &mut self.state {
            State::Open(since) if !through => *since = answer.at,
            State::Open(since) if answer.at - *since > STEADY => {
                let suspended = Instant::now();
                self.set(ClusterState::Suspended);
                self.state = State::Closing { suspended, last: None };
            }
            State::Closing { last, .. } if through => *last = Some(answer.at),
            State::Closing { suspended, last } => {
                if answer.at - last.unwrap_or(*suspended) > QUIET {
                    let took = last.map_or(Duration::ZERO, |last| last - *suspended);
                    self.times.push(took.as_secs_f64() * 1e3);
                    self.set(ClusterState::Online);
                    self.state = State::Open(Instant::now());
                }
            }
            State::Open(_) => {}
        }
        if self.times.len() == self.wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
