//! Audit records that were taken out of the service, as `portcullis audit export` writes them.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use portcullis_control_contract::audit::RecordList;
use portcullis_control_contract::changes;
use portcullis_control_domain::recovery::{AuditExport, Change, ExportGap, Recovery};
use portcullis_protocol::audit::hex;

/// Why an export is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportedError {
    /// The file cannot be read.
    #[error("the audit export {0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    /// The file is something else.
    #[error("the audit export {0} is not what `portcullis audit export` writes: {1}")]
    Form(PathBuf, serde_json::Error),
    /// Records of other stores say nothing here.
    #[error("the audit export {0} is of another store, or of another life of this one than the backup")]
    Other(PathBuf),
    /// Records are missing.
    #[error("the audit export {0}: {1}")]
    Records(PathBuf, ExportGap),
}

/// What exports tell, taken together in the order in which they were given.
pub(super) struct Told {
    pub(super) export: AuditExport,
    /// Up to which revision and time, where the last one went to the end of the log.
    pub(super) reaches: Option<(u64, u64)>,
}

/// Reads exports, one page after the other: they may be longer than memory is.
pub(super) fn read(files: &[PathBuf], recovery: &Recovery) -> Result<Told, ExportedError> {
    let mut told = Told { export: AuditExport::default(), reaches: None };
    for path in files {
        let file = File::open(path).map_err(|error| ExportedError::File(path.clone(), error))?;
        for page in serde_json::Deserializer::from_reader(BufReader::new(file)).into_iter::<RecordList>() {
            let page = page.map_err(|error| ExportedError::Form(path.clone(), error))?;
            take(path, &page, recovery, &mut told)?;
        }
    }
    if !told.export.unclear.is_empty() {
        told.reaches = None;
    }
    Ok(told)
}

fn take(path: &Path, page: &RecordList, recovery: &Recovery, told: &mut Told) -> Result<(), ExportedError> {
    if page.generation != hex(&recovery.generation) {
        return Err(ExportedError::Other(path.to_owned()));
    }
    for record in &page.records {
        // Who sees a part of the log exports nothing.
        let Some(index) = record.index else { return Err(ExportedError::Other(path.to_owned())) };
        let call = [record.method.as_str(), " ", &record.path].concat();
        let change = Change { index, time_ms: record.time_ms, call, what: changes::told(record) };
        let added = told.export.add(change, recovery.covered_index);
        added.map_err(|error| ExportedError::Records(path.to_owned(), error))?;
    }
    // Of a page that leaves records out nobody knows whether it has the end of the log; records that come while the page
    // is read may be in it, too.
    let known = told.export.last_index.max(recovery.covered_index);
    let whole = page.next.is_none() && page.newest_index.is_some_and(|newest| known >= newest);
    told.reaches = whole.then_some((page.revision, page.read_at_ms));
    Ok(())
}
