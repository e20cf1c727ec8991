//! Memory over millions of requests: it must not grow once it is warm.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_model::decision::ClusterState;
use portcullis_protocol::wire::{Record, RecordKind};

use crate::closed_loop::forge;
use crate::envoy::Envoy;
use crate::error::{BenchError, Result};
use crate::filters::Chain;
use crate::mesh_api::MeshApi;
use crate::setup::{CLUSTERS, Setup};
use crate::stats::Spread;
use crate::world::{Algorithm, Credential, World, cluster_record, source_rules};
use crate::wrk::Feed;

/// API keys: more than identities that a worker caches, so that the cache is always full and turning over.
const API_KEYS: usize = 15_000;

/// Tokens that all differ, good ones and forged ones.
const TOKENS: usize = 10_000;

/// Time between samples.
const SLICE: Duration = Duration::from_secs(5);

/// Time between changes of the snapshot.
const CHANGE_EVERY: Duration = Duration::from_millis(200);

/// Requests that count as warm-up: every cache has been full and turned over many times by then. At least
/// as many must follow.
const WARM_UP: f64 = 1e6;

/// Parts of what follows the warm-up. A Wasm memory never shrinks, so what a burst needs once (records that
/// wait longer because the machine was busy) raises it once; what is forgotten raises it in every part.
const PARTS: usize = 3;

/// Growth of a Wasm memory in every part that fails the soak: so many bytes a request, which is less than
/// any object forgotten once in a hundred requests…
const WASM_GROWTH_BYTES: f64 = 0.1;

/// … but no less than this, in MiB: four pages, the steps in which such a memory grows.
const WASM_GROWTH_MIB: f64 = 0.25;

/// The Wasm memory that a worker may have, in MiB.
const WASM_MOST_MIB: f64 = 32.0;

/// Growth of resident memory from each part to the next that fails the soak, as a share.
const RESIDENT_GROWTH: f64 = 0.025;

/// Bounds of a soak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Requests after which it ends.
    pub requests: u64,
    /// Time within which they must have been answered.
    pub time: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    requests: f64,
    wasm_mib: f64,
    resident_mib: f64,
}

/// Runs the soak, prints the curve and writes it as `target/soak.svg`.
///
/// # Errors
/// When memory grew after warm-up, or a load could not be made.
pub(crate) fn run(setup: &Setup, bounds: Bounds) -> Result<()> {
    let api = MeshApi::start(setup.world.records(CLUSTERS, API_KEYS))?;
    let chains = [Chain::plugins("gateway", &["gateway"], &setup.wasm)];
    let mut envoy = Envoy::start("soak", &setup.launch(), &chains, &api)?;
    let feed = Feed::write(&setup.dir, "soak", &credentials(&setup.world)?)?;
    let over = AtomicBool::new(false);
    let samples = std::thread::scope(|scope| {
        scope.spawn(|| changes(&api, &over));
        let samples = sample(setup, &mut envoy, &feed, bounds);
        over.store(true, Ordering::Relaxed);
        samples
    })?;
    println!("{}", curve(&samples));
    let plot = portcullis_mesh::paths::target().join("soak.svg");
    std::fs::write(&plot, svg(&samples)).map_err(BenchError::io("write", &plot))?;
    println!("plotted in {}", plot.display());
    judge(&samples).map_err(|why| BenchError::Failed { what: "flat memory", why })
}

fn sample(setup: &Setup, envoy: &mut Envoy, feed: &Feed, bounds: Bounds) -> Result<Vec<Sample>> {
    let target = envoy.address("gateway")?;
    let (begin, mut requests, mut samples) = (Instant::now(), 0.0, Vec::new());
    while requests < bounds.requests as f64 {
        if begin.elapsed() > bounds.time {
            let why = format!("only {requests:.0} of {} requests within the time", bounds.requests);
            return Err(BenchError::invalid("flat memory", why));
        }
        let round = setup.wrk.run(target, feed, SLICE)?;
        envoy.check()?;
        let refused = round.refused / round.requests;
        if !(0.3..=0.9).contains(&refused) {
            let why = format!("{:.1}% of the requests were refused, not about half", refused * 100.0);
            return Err(BenchError::invalid("flat memory", why));
        }
        requests += round.requests;
        let (Some(wasm_mib), Some(resident_mib)) = (envoy.wasm_memory_mib(), envoy.resident_mib()) else {
            return Err(BenchError::invalid("flat memory", "/proc does not tell the proxy's memory"));
        };
        samples.push(Sample { requests, wasm_mib, resident_mib });
    }
    Ok(samples)
}

/// Good tokens, forged tokens, API keys, unknown keys, garbage, and clusters of other tenants, in turn.
fn credentials(world: &World) -> Result<Vec<Credential>> {
    let tokens = world.tokens(Algorithm::Rs256, TOKENS)?;
    let elliptic = world.tokens(Algorithm::Es256, TOKENS)?;
    let with =
        |authorization: String, n: usize| Credential { authorization, cluster: crate::world::cluster(n) };
    Ok(tokens
        .into_iter()
        .zip(elliptic)
        .enumerate()
        .flat_map(|(n, (rsa, ec))| {
            [
                forge(rsa.clone()),
                rsa,
                World::api_key(n),
                with(format!("Bearer pck_{n:031x}x"), n),
                with(format!("Bearer {n:x}.garbage"), n),
                ec,
                Credential { cluster: crate::world::cluster(n + 1), ..World::api_key(n + TOKENS / 2) },
            ]
        })
        .collect())
}

/// Changes of everything that a snapshot can bring, until told to stop. The number of entries stays
/// within bounds, as it does in a platform that does not grow.
fn changes(api: &MeshApi, over: &AtomicBool) {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let state = if number % 2 == 0 { ClusterState::Suspended } else { ClusterState::Online };
        let clusters = (0..50).map(|n| cluster_record(CLUSTERS / 2 + (number / 2 * 50 + n) % 1_000, state));
        let revocation = Record {
            kind: RecordKind::Revocation.into(),
            key: format!("jti:{:016x}", number / 2 % 500).into_bytes(),
            value: Vec::new(),
            removed: number % 2 == 1,
        };
        let mut records: Vec<Record> = clusters.collect();
        records.push(revocation);
        if number % 25 == 0 {
            records.push(source_rules());
        }
        api.change(records);
        number += 1;
        std::thread::sleep(CHANGE_EVERY);
    }
}

/// Whether memory stayed flat after warm-up.
fn judge(samples: &[Sample]) -> std::result::Result<(), String> {
    let (before, after) = samples.split_at(samples.partition_point(|s| s.requests < WARM_UP));
    let (Some(warm), Some(last)) = (after.first().or(before.last()), samples.last()) else {
        return Err("there are no samples".into());
    };
    let requests = last.requests - warm.requests;
    if requests < WARM_UP {
        return Err(format!(
            "{:.0} requests are too few: give it more than {:.0}",
            last.requests,
            2.0 * WARM_UP
        ));
    }
    let allowed = WASM_GROWTH_MIB.max(requests / PARTS as f64 * WASM_GROWTH_BYTES / f64::from(1 << 20));
    let growth = growth(after);
    if growth.iter().all(|part| *part > allowed) || last.wasm_mib > WASM_MOST_MIB {
        let (from, to) = (warm.wasm_mib, last.wasm_mib);
        return Err(format!(
            "the Wasm memory grew after warm-up from {from:.2} to {to:.2} MiB, part by part by {growth:.2?}"
        ));
    }
    let median = |part: &[Sample]| {
        Spread::of(&part.iter().map(|s| s.resident_mib).collect::<Vec<_>>()).map_or(0.0, |s| s.median)
    };
    let medians: Vec<f64> = after.chunks(after.len().div_ceil(PARTS)).map(median).collect();
    if medians.len() > 1 && medians.windows(2).all(|pair| pair[1] > pair[0] * (1.0 + RESIDENT_GROWTH)) {
        return Err(format!("Envoy's resident memory grew after warm-up, part by part: {medians:.1?} MiB"));
    }
    Ok(())
}

/// By how many MiB the Wasm memory grew in each of [`PARTS`].
fn growth(samples: &[Sample]) -> Vec<f64> {
    let at = |part: usize| samples.get((samples.len() - 1) * part / PARTS).map_or(0.0, |s| s.wasm_mib);
    (0..PARTS).map(|part| at(part + 1) - at(part)).collect()
}

/// The curve as text, at most 20 lines.
fn curve(samples: &[Sample]) -> String {
    let mut out = format!("{:>12} {:>10} {:>12}\n", "requests", "Wasm MiB", "resident MiB");
    for sample in samples.iter().step_by(samples.len().div_ceil(20).max(1)) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{:>12.0} {:>10.2} {:>12.1}",
            sample.requests, sample.wasm_mib, sample.resident_mib
        );
    }
    out
}

/// The curve as a picture: resident memory above, Wasm memory below, from 0.
fn svg(samples: &[Sample]) -> String {
    const WIDTH: f64 = 800.0;
    const HEIGHT: f64 = 300.0;
    let most = |what: fn(&Sample) -> f64| samples.iter().map(what).fold(1.0, f64::max);
    let (requests, top) = (most(|s| s.requests), most(|s| s.resident_mib) * 1.1);
    let line = |what: fn(&Sample) -> f64| -> String {
        samples
            .iter()
            .map(|s| format!("{:.1},{:.1} ", s.requests / requests * WIDTH, HEIGHT - what(s) / top * HEIGHT))
            .collect()
    };
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 330" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fafafa"/>
<polyline fill="none" stroke="#06c" stroke-width="2" points="{}"/>
<polyline fill="none" stroke="#c60" stroke-width="2" points="{}"/>
<text x="8" y="322">{requests:.0} requests; blue: Envoy's resident memory, orange: Wasm memory; top: {top:.0} MiB</text>
</svg>
"##,
        line(|s| s.resident_mib),
        line(|s| s.wasm_mib),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten million requests.
    fn samples(wasm: impl Fn(f64) -> f64, resident: impl Fn(f64) -> f64) -> Vec<Sample> {
        (1..=200)
            .map(|n| f64::from(n) * 50e3)
            .map(|n| Sample { requests: n, wasm_mib: wasm(n), resident_mib: resident(n) })
            .collect()
    }

    #[test]
    fn warm_and_then_flat_is_flat() {
        let warming = samples(|n| 10.0 + n.min(900e3) / 1e5, |n| 100.0 + n / 1e4 % 3.0);
        assert_eq!(judge(&warming), Ok(()));
        let late_step = samples(|n| if n < 5e6 { 16.0 } else { 16.25 }, |_| 100.0);
        assert_eq!(judge(&late_step), Ok(()));
        assert_eq!(judge(&late_step[..60]), Ok(()), "three million");
        let bursts = |n| 16.0 + f64::from(u8::from(n > 2e6)) + f64::from(u8::from(n > 5e6));
        assert_eq!(judge(&samples(bursts, |_| 100.0)), Ok(()), "once in two of the three parts");
    }

    #[test]
    fn growth_after_warm_up_fails() {
        let mib = f64::from(1 << 20);
        let leak = |bytes: f64| samples(move |n| 16.0 + n * bytes / mib, |_| 100.0);
        assert!(judge(&leak(0.16)).unwrap_err().contains("Wasm memory"), "16 bytes once in 100 requests");
        assert!(judge(&leak(1.0)[..60]).unwrap_err().contains("Wasm memory"), "a byte a request");
        assert!(judge(&samples(|n| if n < 5e6 { 16.0 } else { 33.0 }, |_| 100.0)).is_err());
        let resident = samples(|_| 4.0, |n| 100.0 + n / 5e5);
        assert_eq!(judge(&samples(|_| 4.0, |n| if n < 5e6 { 100.0 } else { 110.0 })), Ok(()), "once");
        assert!(judge(&resident).unwrap_err().contains("resident"));
        assert!(judge(&leak(0.0)[..30]).unwrap_err().contains("too few"));
        assert!(judge(&[]).is_err());
    }
}
