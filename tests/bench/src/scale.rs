//! The module's size, its start, and what 100,000 clusters and 100,000 API keys cost a worker.

use std::time::{Duration, Instant};

use portcullis_model::decision::ClusterState;
use serde_json::json;

use crate::envoy::Envoy;
use crate::error::{BenchError, Result};
use crate::filters::Chain;
use crate::mesh_api::MeshApi;
use crate::proc;
use crate::report::{Report, Target};
use crate::setup::Setup;
use crate::stats::quantile;
use crate::world::cluster_record;

/// Entries of each kind.
const ENTRIES: usize = 100_000;

/// Entries of a delta.
const DELTA: usize = 100;

/// Full resyncs after the first: what a worker holds at its greatest.
const RESYNCS: usize = 2;

/// The time in which a delta is received and applied, with room to spare.
const WINDOW: Duration = Duration::from_millis(150);

/// Measures all of it.
///
/// # Errors
/// When an Envoy fails, or a worker does not take the snapshot.
pub(crate) fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let size = std::fs::metadata(&setup.wasm).map_err(BenchError::io("read", &setup.wasm))?.len();
    report.add("wasm_size_kib", size as f64 / 1024.0, "KiB", Some(Target::AtMost(900.0)), json!({}));
    start(setup, report)?;
    entries(setup, report)
}

/// How much longer a proxy takes until it answers, with the module than without.
fn start(setup: &Setup, report: &mut Report) -> Result<()> {
    let tries = if setup.effort.quick { 1 } else { 7 };
    let wasm = Chain::plugins("gateway", &["gateway"], &setup.wasm);
    let native = Chain::module("native-gateway", "gateway");
    let api = MeshApi::start(setup.world.records(0, 0))?;
    let mut rows: [[Vec<f64>; 3]; 2] = Default::default();
    for _ in 0..tries {
        let answers = |chain: &Chain| {
            let envoy = Envoy::start("start", &setup.launch(), std::slice::from_ref(chain), &api)?;
            let resident = proc::resident_mib(envoy.id()).unwrap_or_default();
            Ok([envoy.answered_in.as_secs_f64() * 1e3, envoy.processor_at_answer_ns as f64 / 1e6, resident])
        };
        let bare = answers(&Chain::bare())?;
        for (chain, row) in [&wasm, &native].into_iter().zip(&mut rows) {
            for ((value, base), column) in answers(chain)?.into_iter().zip(bare).zip(row) {
                column.push(value - base);
            }
        }
    }
    let inputs = json!({"tries": tries, "virtual_machines": 3, "workers": 1});
    for (name, target, [added, processor, resident]) in
        [("vm_start", 600.0, &rows[0]), ("native_start", 50.0, &rows[1])]
    {
        let named = |what: &str| [name, what].concat();
        report.add_rounds(&named("_ms"), added, "ms", Some(Target::AtMost(target)), inputs.clone());
        report.add_rounds(&named(" by processor time"), processor, "ms", None, inputs.clone());
        report.add_rounds(&named(": resident memory added"), resident, "MiB", None, inputs.clone());
    }
    Ok(())
}

fn entries(setup: &Setup, report: &mut Report) -> Result<()> {
    let missing = || BenchError::invalid("worker_memory_mib_100k", "the worker did not take the snapshot");
    let memory = |envoy: &Envoy| {
        envoy.wasm_memory_mib().ok_or_else(|| {
            BenchError::invalid("worker_memory_mib_100k", "no Wasm memory is found in /proc/<pid>/smaps")
        })
    };
    let records = setup.world.records(ENTRIES, ENTRIES);
    let api = MeshApi::start(setup.world.records(0, 0))?;
    let chains = [Chain::plugins("gateway", &["gateway"], &setup.wasm)];
    let envoy = Envoy::start("scale", &setup.launch(), &chains, &api)?;
    let empty = memory(&envoy)?;
    let (mut waits, mut worker) = (Vec::new(), Vec::new());
    for _ in 0..=RESYNCS {
        let (begin, used) = (Instant::now(), envoy.worker_ns());
        let pages = api.pages();
        api.replace(records.clone());
        if !api.await_readers(1) {
            return Err(missing());
        }
        waits.push(begin.elapsed().as_secs_f64() * 1e3);
        worker.push((envoy.worker_ns() - used) as f64 / 1e6 / (api.pages() - pages).max(1) as f64);
    }
    let inputs = json!({"clusters": ENTRIES, "api_keys": ENTRIES, "full_resyncs": RESYNCS + 1,
        "empty_mib": empty, "by": "greatest linear memory among the process's VMs, from /proc/<pid>/smaps"});
    let peak = memory(&envoy)?;
    report.add("worker_memory_mib_100k", peak, "MiB", Some(Target::AtMost(32.0)), inputs.clone());
    report.add_rounds("full resync: until the worker has it", &waits, "ms", None, inputs.clone());
    report.add_rounds("full resync: worker's time per page", &worker, "ms", None, inputs);
    deltas(setup, &api, &envoy, report)
}

/// The processor time that a worker spends on a delta: an upper bound of how long it serves nobody, and
/// not disturbed by other programs.
fn deltas(setup: &Setup, api: &MeshApi, envoy: &Envoy, report: &mut Report) -> Result<()> {
    let tries = if setup.effort.quick { 10 } else { 40 };
    let mut times = Vec::new();
    for number in 0..tries {
        let idle = envoy.worker_ns();
        std::thread::sleep(WINDOW);
        let before = envoy.worker_ns();
        let state = if number % 2 == 0 { ClusterState::Degraded } else { ClusterState::Online };
        api.change((0..DELTA).map(|n| cluster_record(n * (ENTRIES / DELTA), state)).collect());
        let begun = Instant::now();
        if !api.await_readers(1) {
            return Err(BenchError::invalid("delta_apply_ms", "the worker did not take the delta"));
        }
        std::thread::sleep(WINDOW.saturating_sub(begun.elapsed()));
        let after = envoy.worker_ns();
        times.push((after - before).saturating_sub(before - idle) as f64 / 1e6);
    }
    times.sort_by(f64::total_cmp);
    let inputs = json!({"entries": DELTA, "tries": tries, "held": 2 * ENTRIES, "p90_ms": quantile(&times, 0.9),
        "by": "processor time of the worker thread, less that of an idle window as long"});
    report.add_rounds("delta_apply_ms", &times, "ms", Some(Target::AtMost(1.0)), inputs);
    Ok(())
}
