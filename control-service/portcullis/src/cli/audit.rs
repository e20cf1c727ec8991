//! Commands about the audit log.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};
use portcullis_control_contract::audit::{
    AuditStatus, ErasureReport, ErasureRequest, ProofReport, RecordFilter, RecordList,
};
use portcullis_control_domain::audit::{DecisionName, Hop, Order};

use super::client::{Call, ClientError, Connection, MOST, ask, one_of, print, run, written};
use super::verify::verify;

/// The audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Show records.
    Records(Records),
    /// Write all records from an index on into a file, one page of the API's answers a line: for keeping elsewhere, and for
    /// `portcullis backup recover`.
    Export {
        /// The file to write; there must be none of this name.
        #[arg(long)]
        file: PathBuf,
        /// After this index.
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// Show what is stored and what is missing.
    Status,
    /// Check that a record is the one that the log's entry was made for.
    Verify {
        /// Its index in the log, or its reference where records have no index.
        index: String,
    },
    /// Delete the key of a person: what records tell of them cannot be read any more. There is no way back.
    Erase(Erase),
}

/// Which records are shown.
#[derive(Debug, Args)]
pub(super) struct Records {
    /// Of this request.
    #[arg(long)]
    request_id: Option<String>,
    /// Of this subject.
    #[arg(long)]
    subject: Option<String>,
    /// Of this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Of this cluster.
    #[arg(long)]
    cluster: Option<String>,
    /// Decided so.
    #[arg(long, value_parser = decision())]
    decision: Option<DecisionName>,
    /// Refused for this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Recorded there: by the root id of a gateway's filter, at a `sidecar`, or by `control`.
    #[arg(long, value_parser = hop())]
    hop: Option<Hop>,
    /// The newest first.
    #[arg(long)]
    newest: bool,
    /// After this index.
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// Before this index: where the newest come first, `next` of the page before.
    #[arg(long)]
    before: Option<u64>,
    /// Where to go on: `cursor` of the page before.
    #[arg(long, conflicts_with_all = ["after", "before"])]
    cursor: Option<String>,
    /// At most so many, up to 1000.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Who is erased.
#[derive(Debug, Args)]
pub(super) struct Erase {
    /// Tenant, as records show it; without it that of records that have none.
    #[arg(long, default_value = "")]
    tenant: String,
    /// Issuer, as records show it; without it that of records that have none, such as those of API keys.
    #[arg(long, default_value = "")]
    issuer: String,
    /// Subject, as records show it.
    #[arg(long, required_unless_present = "unverified_on")]
    subject: Option<String>,
    /// All who did not say who they are, on this day (UTC): `2026-11-28`.
    #[arg(long, value_name = "DAY", conflicts_with_all = ["tenant", "issuer", "subject"])]
    unverified_on: Option<String>,
}

fn decision() -> impl TypedValueParser<Value = DecisionName> {
    one_of(DecisionName::ALL.iter().map(|d| (d.as_str(), *d)).collect())
}

fn hop() -> impl TypedValueParser<Value = Hop> {
    one_of(Hop::ALL.iter().map(|hop| (hop.as_str(), *hop)).collect())
}

impl From<Records> for RecordFilter {
    fn from(wanted: Records) -> Self {
        let Records {
            request_id,
            subject,
            tenant,
            cluster,
            decision,
            reason,
            hop,
            newest,
            after,
            before,
            cursor,
            limit,
        } = wanted;
        let (order, limit) = (if newest { Order::Newest } else { Order::Oldest }, Some(limit));
        Self {
            request_id,
            subject,
            tenant,
            cluster,
            decision,
            reason,
            hop,
            order,
            after,
            before,
            cursor,
            limit,
        }
    }
}

/// Runs a command about the audit log.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn audit(connection: &Connection, command: Audit) -> Result<(), ClientError> {
    match command {
        Audit::Records(wanted) => {
            let filter = RecordFilter::from(wanted);
            run::<RecordList>(connection, Call::get(&["v1", "audit", "records"]).query(&filter)).await
        }
        Audit::Verify { index } => {
            let proof: ProofReport = ask(connection, Call::get(&["v1", "audit", "entries", &index])).await?;
            // A reference does not tell which entry it is.
            let wanted = index.parse().unwrap_or(proof.index);
            let verified = verify(wanted, &proof).map_err(|problem| ClientError::Proof(wanted, problem))?;
            Ok(print(connection, &written(&verified))?)
        }
        Audit::Erase(Erase { tenant, issuer, subject, unverified_on }) => {
            let request = ErasureRequest { tenant, issuer, subject, unverified_on };
            run::<ErasureReport>(connection, Call::post(&["v1", "audit", "erasures"]).body(&request)).await
        }
        Audit::Export { file, after } => export(connection, &file, after).await,
        Audit::Status => run::<AuditStatus>(connection, Call::get(&["v1", "audit", "status"])).await,
    }
}

/// Writes page after page until the end of the log; prints the last index, after which the next export goes on.
async fn export(connection: &Connection, path: &Path, after: u64) -> Result<(), ClientError> {
    let failed = |error| ClientError::Export(path.to_owned(), error);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let (mut after, mut last) = (after, after);
    loop {
        let filter = RecordFilter { after, limit: MOST, ..RecordFilter::default() };
        let page: RecordList = ask(connection, Call::get(&["v1", "audit", "records"]).query(&filter)).await?;
        if let Some(newest) = page.newest_index.filter(|newest| after > *newest) {
            // The file is of no use, and would be in the way of the right one.
            std::fs::remove_file(path).map_err(failed)?;
            return Err(ClientError::BeyondEnd { after, newest });
        }
        if page.records.iter().any(|record| record.index.is_none())
            || (page.next.is_none() && page.cursor.is_some())
        {
            std::fs::remove_file(path).map_err(failed)?;
            return Err(ClientError::PartOfLog);
        }
        let text = serde_json::to_string(&page).map_err(|error| ClientError::Answer(error.to_string()))?;
        file.write_all([text.as_bytes(), b"\n"].concat().as_slice()).map_err(failed)?;
        last = page.records.last().and_then(|record| record.index).unwrap_or(last);
        let Some(next) = page.next else { break };
        after = next;
    }
    file.sync_all().map_err(failed)?;
    Ok(writeln!(std::io::stdout(), "{last}")?)
}
