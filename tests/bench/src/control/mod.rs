//! What the control service bears: its store alone, and a real `portcullis serve`.

mod connection;
mod filled;
mod heartbeats;
mod ingest;
mod pollers;
mod reader;
mod records;
mod service;
mod whole;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_control_store::{Database, Location, Server};
use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use serde_json::json;

use crate::error::{BenchError, Result, failed};
use crate::proc;
use crate::report::Report;
use crate::setup::Effort;
use filled::{Size, fill};
use heartbeats::Clusters;
use service::Service;

const HEARTBEATS: &str = "heartbeats_100k_cores";
const HEARTBEATS_PG: &str = "heartbeats_100k_pg_cores";

/// Measures all of it.
///
/// # Errors
/// When a database or the service cannot be used, or does not do what it is asked for.
pub(crate) fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed("the control service"))?;
    let folder = paths::target().join("bench/control");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(BenchError::io("empty", &folder))?;
    }
    runtime.block_on(async {
        ingest::measure(&folder.join("ingest"), effort, report).await?;
        pollers::measure(&folder.join("pollers"), if effort.quick { 5 } else { 30 }, report).await?;
        many(&folder.join("many"), effort, report).await
    })
}

/// A hundred thousand clusters, and as many API keys: served to a new gateway, and reporting.
async fn many(folder: &Path, effort: Effort, report: &mut Report) -> Result<()> {
    let window = Duration::from_secs(if effort.quick { 10 } else { 60 });
    let size = Size { clusters: 100_000, keys: 100_000 };
    let on_file = folder.join("sqlite");
    let data = on_file.join("data");
    let mut filled = fill(Location::folder(&data), size).await.map_err(failed(HEARTBEATS))?;
    let service = Service::start(&on_file, None).await?;
    whole::measure(&service, &filled, size, effort.rounds, report).await?;
    let clusters: Clusters = Arc::new(std::mem::take(&mut filled.clusters));
    heartbeats::measure((HEARTBEATS, "sqlite"), &service, &clusters, window, report).await?;
    drop(service);
    if effort.quick {
        return Ok(());
    }
    let server = Postgres::start(&folder.join("server")).await.map_err(failed(HEARTBEATS_PG))?;
    let url = server.database("bench").await.map_err(failed(HEARTBEATS_PG))?;
    let on_server = folder.join("postgres");
    copy(&data, &on_server, &url).await?;
    let service = Service::start(&on_server, Some(&url)).await?;
    let used = || server.processes().map_err(failed(HEARTBEATS_PG)).map(|all| proc::processor_time_of(&all));
    let before = (used()?, std::time::Instant::now());
    heartbeats::measure((HEARTBEATS_PG, "postgresql"), &service, &clusters, window, report).await?;
    let cores = (used()?.saturating_sub(before.0)).as_secs_f64() / before.1.elapsed().as_secs_f64();
    report.add(
        "heartbeats of 100,000: PostgreSQL's cores",
        cores,
        "",
        None,
        json!({"clusters": clusters.len()}),
    );
    Ok(())
}

/// Brings a store from its folder to a server.
async fn copy(data: &Path, folder: &Path, url: &str) -> Result<()> {
    let own = folder.join("data");
    std::fs::create_dir_all(&own).map_err(BenchError::io("create", &own))?;
    let server = Arc::new(Server::parse(url).map_err(failed(HEARTBEATS_PG))?);
    let to = Location::Server {
        server,
        sealing_key: SealingKeySource::File(own.join("sealing.key")),
        folder: own,
    };
    let from = Location::folder(data);
    let copy = tokio::task::spawn_blocking(move || Database::copy(&from, &to));
    copy.await.map_err(failed(HEARTBEATS_PG))?.map_err(failed(HEARTBEATS_PG))?;
    Ok(())
}
