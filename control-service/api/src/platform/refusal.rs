//! Refusing callers who have not proved who they are.

use portcullis_control_domain::pause::PauseName;
use portcullis_control_services::metrics::Family;
use portcullis_control_store::Store;
use portcullis_protocol::wire::AuditRecord;

use crate::{Problem, ProblemKind};

/// Refuses a call without a token that is good. Each refusal is audited; when many come from one address they get slower,
/// so that nobody can fill the audit log. A good token is never slowed down.
pub(super) async fn refuse(
    store: &Store,
    refused: &Family,
    from: PauseName,
    record: AuditRecord,
    problem: Problem,
) -> Problem {
    match store.refuse(vec![from], record).await {
        Ok(None) => {
            refused.count(&["audited"]);
            problem
        }
        Ok(Some(pause)) => {
            refused.count(&["paused"]);
            let told = "try again later, with the right token";
            Problem::new(ProblemKind::TooManyRefusals, told).retry_after(pause)
        }
        // An answer that cannot be audited is not given.
        Err(error) => error.into(),
    }
}
