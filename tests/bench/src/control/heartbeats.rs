//! Clusters that report, each at its time, over connections that are kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use portcullis_identity::ids::ClusterId;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::Connection;
use super::filled::VERSION;
use super::service::Service;
use crate::error::{BenchError, Result, failed};
use crate::report::{Report, Target};

/// Each cluster reports once in so long.
const INTERVAL: Duration = Duration::from_secs(30);
/// Until all connections are there and times are written as they will be.
const WARM_UP: Duration = Duration::from_secs(7);
/// Connections, each of which carries the heartbeats of a hundred clusters: those of the proxy in front of the service.
const CONNECTIONS: usize = 1_000;
/// What part of the heartbeats must have been answered: with less, it is another load that was measured.
const ANSWERED: f64 = 0.99;

/// Who reports.
pub(super) type Clusters = Arc<Vec<(ClusterId, String)>>;

/// When the load begins, and when it is counted.
#[derive(Debug, Clone, Copy)]
struct Times {
    begin: Instant,
    from: Instant,
    until: Instant,
}

/// Processor time of the service for each second, over a window.
///
/// # Errors
/// When the service fails, or does not answer as many heartbeats as are due.
pub(super) async fn measure(
    (name, database): (&'static str, &'static str),
    service: &Service,
    clusters: &Clusters,
    window: Duration,
    report: &mut Report,
) -> Result<()> {
    let begin = Instant::now() + Duration::from_secs(1);
    let from = begin + WARM_UP;
    let times = Times { begin, from, until: from + window };
    let mut load = JoinSet::new();
    for number in 0..CONNECTIONS {
        load.spawn(reports(service.platform(), Arc::clone(clusters), number, times));
    }
    tokio::time::sleep_until(from).await;
    let used = service.used()?;
    tokio::time::sleep_until(times.until).await;
    let cores = service.cores_since(used)?;
    let resident = service.resident_mib()?;
    let mut latencies = Histogram::<u64>::new(3).map_err(failed(name))?;
    while let Some(ended) = load.join_next().await {
        latencies.add(ended.map_err(failed(name))?.map_err(failed(name))?).map_err(failed(name))?;
    }
    let due = clusters.len() as f64 * window.as_secs_f64() / INTERVAL.as_secs_f64();
    let answered = latencies.len() as f64;
    if answered < due * ANSWERED {
        return Err(BenchError::invalid(
            name,
            format!("of {due} heartbeats {answered} were answered in time"),
        ));
    }
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    let inputs = json!({"clusters": clusters.len(), "interval_s": INTERVAL.as_secs(), "connections": CONNECTIONS,
        "window_s": window.as_secs(), "answered": answered, "p50_ms": ms(0.5), "p99_ms": ms(0.99),
        "resident_mib": resident, "database": database, "tls": false});
    report.add(name, cores, "", Some(Target::AtMost(0.5)), inputs);
    Ok(())
}

/// The heartbeats of one connection; how long those took that are counted, from when they were due, in microseconds.
async fn reports(
    address: SocketAddr,
    clusters: Clusters,
    number: usize,
    times: Times,
) -> std::result::Result<Histogram<u64>, String> {
    let mut took = Histogram::new(3).map_err(|e| e.to_string())?;
    let mut connection = Connection::open(address).await?;
    let mut round = 0;
    loop {
        for place in (number..clusters.len()).step_by(CONNECTIONS) {
            let part = place as f64 / clusters.len() as f64;
            let due = times.begin + INTERVAL * round + INTERVAL.mul_f64(part);
            if due >= times.until {
                return Ok(took);
            }
            let Some((id, token)) = clusters.get(place) else { continue };
            let request = request(id, token);
            tokio::time::sleep_until(due).await;
            connection.ask(request.as_bytes()).await?;
            let answered = Instant::now();
            if due >= times.from && answered < times.until {
                let us = answered.saturating_duration_since(due).as_micros();
                took.record(u64::try_from(us).unwrap_or(u64::MAX)).map_err(|e| e.to_string())?;
            }
        }
        round += 1;
    }
}

fn request(id: &ClusterId, token: &str) -> String {
    let body = format!(r#"{{"status":"online","version":"{VERSION}"}}"#);
    format!(
        "POST /v1/clusters/{id}/heartbeat HTTP/1.1\r\nhost: control\r\nauthorization: Bearer {token}\r\n\
         user-agent: cluster-agent/1.4\r\naccept: */*\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
