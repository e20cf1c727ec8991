//! The whole snapshot, for a gateway that has nothing yet.

use std::time::Instant;

use portcullis_protocol::wire::RecordKind;
use serde_json::json;

use super::filled::{Filled, Size};
use super::reader::{Answer, Reader};
use super::service::Service;
use crate::error::{BenchError, Result, failed};
use crate::report::{Report, Target};

const NAME: &str = "snapshot_100k_ms";

/// From the first request to the last byte, so many times.
///
/// # Errors
/// When the service fails, or what it sends is not all of it.
pub(super) async fn measure(
    service: &Service,
    filled: &Filled,
    size: Size,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    let (mut times, mut processor) = (Vec::new(), Vec::new());
    let (mut pages, mut bytes) = (0, 0);
    for round in 0..rounds {
        let mut reader = Reader::connect(service.mesh(), round).await.map_err(failed(NAME))?;
        let (begun, used) = (Instant::now(), service.used()?);
        let answers = reader.sync().await.map_err(failed(NAME))?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        processor.push(service.processor_ms_since(used)?);
        check(&answers, filled, size)?;
        (pages, bytes) = (answers.len(), answers.iter().map(Answer::len).sum::<usize>());
    }
    let resident = service.resident_mib()?;
    let inputs = json!({"clusters": size.clusters, "api_keys": size.keys, "pages": pages, "bytes": bytes,
        "connections": 1, "database": "sqlite", "rounds": rounds,
        "by": "a poll for each page, one after the other, from the first request to the last byte"});
    report.add_rounds(NAME, &times, "ms", Some(Target::AtMost(2_000.0)), inputs.clone());
    report.add_rounds("snapshot of 100,000: service's time", &processor, "ms", None, inputs.clone());
    report.add("snapshot of 100,000: resident memory", resident, "MiB", None, inputs);
    Ok(())
}

/// That every page is signed, and that all clusters and keys came.
fn check(answers: &[Answer], filled: &Filled, size: Size) -> Result<()> {
    let (mut clusters, mut keys) = (0, 0);
    for answer in answers {
        let page = answer.verify(&filled.key).map_err(failed(NAME))?;
        let of = |kind: RecordKind| page.records.iter().filter(|record| record.kind == kind as i32).count();
        clusters += of(RecordKind::Cluster);
        keys += of(RecordKind::ApiKey);
    }
    if (clusters, keys) == (size.clusters, size.keys) {
        return Ok(());
    }
    Err(BenchError::invalid(NAME, format!("{clusters} clusters and {keys} keys came, and not {size:?}")))
}
