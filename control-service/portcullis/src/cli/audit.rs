//! Commands about the audit log.

use clap::Subcommand;
use portcullis_control_contract::audit::{AuditStatus, RecordFilter, RecordList};

use super::client::{Call, ClientError, Connection, run};

/// The audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Show records.
    Records {
        /// Of this request.
        #[arg(long)]
        request_id: Option<String>,
        /// Of this subject.
        #[arg(long)]
        subject: Option<String>,
        /// Of this cluster.
        #[arg(long)]
        cluster: Option<String>,
        /// Only `allow`, `refuse` or `none`.
        #[arg(long)]
        decision: Option<String>,
        /// After this index.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many, up to 1000.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show what is stored and what is missing.
    Status,
}

/// Runs a command about the audit log.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn audit(connection: &Connection, command: Audit) -> Result<(), ClientError> {
    match command {
        Audit::Records { request_id, subject, cluster, decision, after, limit } => {
            let limit = Some(limit);
            let filter = RecordFilter {
                request_id,
                subject,
                cluster,
                decision,
                after,
                limit,
                ..RecordFilter::default()
            };
            run::<RecordList>(connection, Call::get(&["v1", "audit", "records"]).query(&filter)).await
        }
        Audit::Status => run::<AuditStatus>(connection, Call::get(&["v1", "audit", "status"])).await,
    }
}
