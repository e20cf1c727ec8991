//! What the control service bears.

mod ingest;
mod records;

use portcullis_mesh::paths;

use crate::error::{BenchError, Result};
use crate::report::Report;
use crate::setup::Effort;

/// Measures all of it.
///
/// # Errors
/// When a database cannot be used, or does not store everything.
pub(crate) fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed("the control service"))?;
    let folder = paths::target().join("bench/control");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(BenchError::io("empty", &folder))?;
    }
    runtime.block_on(ingest::measure(&folder, effort, report))
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> BenchError {
    move |error| BenchError::invalid(what, error.to_string())
}
