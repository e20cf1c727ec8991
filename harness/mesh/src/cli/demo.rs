//! `demo`: the scenario as a table.

use std::process::ExitCode;

use portcullis_mesh::scenario::{Scenario, print_header, print_row, print_summary};
use portcullis_mesh::{Mesh, Options, Result};

use super::console::{interrupted, say};

/// Starts a mesh, goes through the scenario, shows its audit records and stops. Success only if every row came
/// out as expected.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    tokio::select! {
        code = go(options) => code,
        // What was started dies with its handles.
        interrupted = interrupted() => interrupted.map(|()| ExitCode::FAILURE),
    }
}

async fn go(options: Options) -> Result<ExitCode> {
    let mut mesh = Mesh::start(options, &mut say).await?;
    print_header();
    let report = Scenario::run(&mut mesh, &mut print_row).await?;
    print_summary(&report);
    let logs = mesh.run_dir().join("logs");
    mesh.stop().await;
    if report.failed().next().is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("some rows did not come out as expected; logs: {}", logs.display());
    Ok(ExitCode::FAILURE)
}
