//! Filters that wait for news, all at one replica.

use std::time::Duration;

use portcullis_control_store::Location;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::Connection;
use super::filled::{Filled, Size, fill};
use super::reader::Reader;
use super::service::Service;
use crate::error::{BenchError, Result, failed};
use crate::report::Report;
use crate::stats::quantile;

const NAME: &str = "mesh_pollers_1000_cores";
/// Filters, each with a connection of its own.
const READERS: usize = 1_000;
const CLUSTERS: usize = 10_000;
/// Seconds for which a poll waits, as filters ask for.
const WAIT_S: u64 = 30;
/// One change in so long.
const EVERY: Duration = Duration::from_secs(1);
/// Until everybody has read everything.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a reader got: the revision that it had before, the one that it has, and since when.
#[derive(Debug, Clone, Copy)]
struct Seen {
    before: u64,
    revision: u64,
    at: Instant,
}

/// A change: its revision, and when it was asked for.
type Made = (u64, Instant);

/// What an administrator is answered.
#[derive(Deserialize)]
struct Changed {
    revision: u64,
}

/// Measures processor time and memory of the service, over so many changes.
///
/// # Errors
/// When the service fails, or a reader does not get a change.
pub(super) async fn measure(folder: &std::path::Path, changes: usize, report: &mut Report) -> Result<()> {
    let size = Size { clusters: CLUSTERS, keys: 0 };
    let filled = fill(Location::folder(&folder.join("data")), size).await.map_err(failed(NAME))?;
    let service = Service::start(folder, None).await?;
    let alone = service.resident_mib()?;
    let (tell, mut seen) = mpsc::unbounded_channel();
    let mut readers = JoinSet::new();
    let (begun, used) = (Instant::now(), service.used()?);
    for number in 0..READERS {
        let (address, tell) = (service.mesh(), tell.clone());
        readers.spawn(async move {
            let mut reader = Reader::connect(address, number).await?;
            reader.sync().await?;
            let mut before = 0;
            loop {
                let revision = reader.revision();
                // When nobody listens any more, this is about to be ended.
                let _ = tell.send(Seen { before, revision, at: Instant::now() });
                before = revision;
                reader.poll(WAIT_S).await?;
            }
        });
    }
    all_read(&mut seen, &mut readers).await?;
    let (resync, resync_ms) = (begun.elapsed(), service.processor_ms_since(used)?);
    let used = service.used()?;
    let made = change(&service, &filled, changes).await.map_err(failed(NAME))?;
    let cores = service.cores_since(used)?;
    let resident = service.resident_mib()?;
    let delays = delays(&made, &mut seen, &mut readers).await?;
    readers.shutdown().await;
    let inputs = json!({"pollers": READERS, "connections": READERS, "clusters": CLUSTERS, "changes": changes,
        "change_every_s": EVERY.as_secs(), "database": "sqlite", "resident_mib_without": alone,
        "until_all_had_everything_s": resync.as_secs_f64(), "for_that_processor_s": resync_ms / 1e3,
        "until_a_poller_has_a_change_p50_ms": quantile(&delays, 0.5), "p99_ms": quantile(&delays, 0.99)});
    report.add(NAME, cores, "", None, inputs.clone());
    report.add("mesh_pollers_1000_mib", resident, "MiB", None, inputs);
    Ok(())
}

type Readers = JoinSet<std::result::Result<(), String>>;

/// What the next reader tells; a reader that ends has failed.
async fn next(
    seen: &mut mpsc::UnboundedReceiver<Seen>,
    readers: &mut Readers,
    until: Instant,
) -> Result<Seen> {
    tokio::select! {
        Some(seen) = seen.recv() => Ok(seen),
        Some(ended) = readers.join_next() => {
            Err(BenchError::invalid(NAME, ended.map_or_else(|e| e.to_string(), |ended| format!("{ended:?}"))))
        }
        () = tokio::time::sleep_until(until) => {
            Err(BenchError::invalid(NAME, "a reader did not get what is there; look at the service's log"))
        }
    }
}

async fn all_read(seen: &mut mpsc::UnboundedReceiver<Seen>, readers: &mut Readers) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut read = 0;
    while read < READERS {
        read += usize::from(next(seen, readers, until).await?.before == 0);
    }
    Ok(())
}

/// Suspends and resumes clusters, one change a second; the revisions, and when each was asked for.
async fn change(
    service: &Service,
    filled: &Filled,
    changes: usize,
) -> std::result::Result<Vec<Made>, String> {
    let mut connection = Connection::open(service.platform()).await?;
    let (mut made, mut at) = (Vec::with_capacity(changes), tokio::time::interval(EVERY));
    for number in 0..changes {
        at.tick().await;
        let (id, _) = filled.clusters.get(number / 2).ok_or("there are too few clusters")?;
        let what = if number % 2 == 0 { "suspend" } else { "resume" };
        let admin = &filled.admin;
        let request = format!(
            "POST /v1/clusters/{id}/{what} HTTP/1.1\r\nhost: control\r\nauthorization: Bearer {admin}\r\n\
             content-length: 0\r\n\r\n"
        );
        let asked = Instant::now();
        let answer = connection.ask(request.as_bytes()).await?;
        let changed: Changed = serde_json::from_slice(answer).map_err(|e| e.to_string())?;
        made.push((changed.revision, asked));
    }
    at.tick().await;
    Ok(made)
}

/// Milliseconds until a reader had a change, of all readers and changes, sorted.
async fn delays(
    made: &[Made],
    seen: &mut mpsc::UnboundedReceiver<Seen>,
    readers: &mut Readers,
) -> Result<Vec<f64>> {
    let until = Instant::now() + PATIENCE;
    let mut delays = Vec::with_capacity(made.len() * READERS);
    while delays.len() < made.len() * READERS {
        let Seen { before, revision, at } = next(seen, readers, until).await?;
        let new = made.iter().filter(|(made, _)| (before + 1..=revision).contains(made));
        delays.extend(new.map(|(_, asked)| at.saturating_duration_since(*asked).as_secs_f64() * 1e3));
    }
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}
