//! Audit records that the store takes in a second, durable, with all indexes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_control_snapshot::Settings;
use portcullis_control_store::{Database, Location, Server, Store};
use portcullis_mesh::postgres::Postgres;
use portcullis_sql::{Connection, SqlError, ToValue, params};
use serde_json::{Value, json};

use super::records::{Load, deliver};
use crate::error::{BenchError, Result, failed};
use crate::proc::processor_ns;
use crate::report::{Report, Target};
use crate::setup::Effort;

const ON_SQLITE: &str = "audit_ingest_per_s";
const ON_POSTGRES: &str = "audit_ingest_pg_per_s";

/// The columns of the log.
const COLUMNS: [&str; 9] =
    ["position", "stream_id", "sequence", "entry", "request", "cluster", "subject_id", "salt", "body"];

/// Measures both databases.
///
/// # Errors
/// When a database cannot be used, or does not store everything.
pub(super) async fn measure(folder: &Path, effort: Effort, report: &mut Report) -> Result<()> {
    let load = Load { streams: 8, batch: 1_000, batches: if effort.quick { 5 } else { 25 } };
    on_sqlite(folder, effort, load, report).await?;
    on_postgres(folder, effort, load, report).await
}

fn inputs(load: Load, rest: Value) -> Value {
    let records: u64 = load.records();
    let mut inputs = json!({"records_a_round": records, "batch": load.batch, "streams": load.streams,
        "by": "the store as the mesh API calls it, batches encoded beforehand; 2,000 data subjects, 300 clusters"});
    if let (Value::Object(inputs), Value::Object(rest)) = (&mut inputs, rest) {
        inputs.extend(rest);
    }
    inputs
}

async fn store(location: Location, what: &'static str) -> Result<Store> {
    let start = move || Store::start(Database::open_to_serve(&location)?, Settings::default());
    let started = tokio::task::spawn_blocking(start).await.map_err(failed(what))?;
    started.map_err(failed(what))
}

/// Records a second, and microseconds of this process for each.
async fn round(store: &Store, load: Load, round: usize, what: &'static str) -> Result<(f64, f64)> {
    let deliveries = load.deliveries(u8::try_from(round).map_err(failed(what))?);
    let used = processor_ns(std::process::id(), |_| true);
    let time = deliver(store, deliveries).await.map_err(failed(what))?;
    let used = processor_ns(std::process::id(), |_| true).saturating_sub(used);
    let records = load.records() as f64;
    Ok((records / time.as_secs_f64(), used as f64 / 1e3 / records))
}

async fn on_sqlite(folder: &Path, effort: Effort, load: Load, report: &mut Report) -> Result<()> {
    let store = store(Location::folder(&folder.join("sqlite")), ON_SQLITE).await?;
    let (mut rates, mut used) = (Vec::new(), Vec::new());
    for number in 0..effort.rounds {
        let (rate, time) = round(&store, load, number, ON_SQLITE).await?;
        rates.push(rate);
        used.push(time);
    }
    store.close().await;
    let inputs = inputs(load, json!({"journal_mode": "WAL", "synchronous": "FULL"}));
    report.add_rounds(ON_SQLITE, &rates, "/s", Some(Target::AtLeast(50_000.0)), inputs.clone());
    report.add_rounds("audit ingest: processor time a record", &used, "µs", None, inputs);
    Ok(())
}

async fn on_postgres(folder: &Path, effort: Effort, load: Load, report: &mut Report) -> Result<()> {
    let server = Postgres::start(&folder.join("postgres")).await.map_err(failed(ON_POSTGRES))?;
    let url = server.database("bench").await.map_err(failed(ON_POSTGRES))?;
    let server = Arc::new(Server::parse(&url).map_err(failed(ON_POSTGRES))?);
    let sealing_key = SealingKeySource::File(folder.join("sealing.key"));
    let (server_of_it, folder) = (Arc::clone(&server), folder.join("data"));
    std::fs::create_dir_all(&folder).map_err(BenchError::io("create", &folder))?;
    let location = Location::Server { server: server_of_it, folder, sealing_key };
    let store = store(location, ON_POSTGRES).await?;
    let (mut rates, mut used, mut of_copy, mut copies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..effort.rounds {
        let (rate, time) = round(&store, load, number, ON_POSTGRES).await?;
        let server = Arc::clone(&server);
        let copy = tokio::task::spawn_blocking(move || copy(&server, load.records()));
        let copied = copy.await.map_err(failed(ON_POSTGRES))?.map_err(failed(ON_POSTGRES))?;
        rates.push(rate);
        used.push(time);
        copies.push(copied);
        of_copy.push(rate / copied);
    }
    store.close().await;
    let how = json!({"durability": "the server's defaults", "copy": "the same rows by one connection into a table with the same indexes, in one transaction"});
    let inputs = inputs(load, how);
    report.add_rounds(ON_POSTGRES, &rates, "/s", None, inputs.clone());
    report.add_rounds("audit_ingest_pg_of_copy", &of_copy, "", Some(Target::AtLeast(0.5)), inputs.clone());
    report.add_rounds("audit ingest, PostgreSQL: COPY alone", &copies, "/s", None, inputs.clone());
    let name = "audit ingest, PostgreSQL: processor time a record";
    report.add_rounds(name, &used, "µs", None, inputs);
    Ok(())
}

type Row = (i64, i64, i64, Vec<u8>, Option<i64>, Option<String>, Option<i64>, Vec<u8>, Vec<u8>);

/// Rows a second that the server itself takes: the newest ones of the log once more, into a table of their own.
fn copy(server: &Server, rows: u64) -> std::result::Result<f64, SqlError> {
    let connection: Connection = server.connect()?;
    connection.batch("CREATE TABLE IF NOT EXISTS audit_copy (LIKE audit_record INCLUDING ALL)")?;
    let sql = format!("SELECT {} FROM audit_record ORDER BY position DESC LIMIT ?1", COLUMNS.join(", "));
    let found: Vec<Row> = connection.query(&sql, params![rows], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
            row.get(7)?,
            row.get(8)?,
        ))
    })?;
    let values = found.iter().rev().map(
        |(position, stream, sequence, entry, request, cluster, subject, salt, body)| {
            [
                position.to_value(),
                stream.to_value(),
                sequence.to_value(),
                entry.to_value(),
                request.to_value(),
                cluster.to_value(),
                subject.to_value(),
                salt.to_value(),
                body.to_value(),
            ]
        },
    );
    let begun = Instant::now();
    connection.exclusively(|_| connection.append("audit_copy", &COLUMNS, values))?;
    Ok(found.len() as f64 / begun.elapsed().as_secs_f64())
}
