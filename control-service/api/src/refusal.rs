//! Refusing callers who have not proved who they are.

use std::time::Duration;

use portcullis_control_domain::pause::PauseName;
use portcullis_control_services::metrics::Family;
use portcullis_control_store::Store;
use portcullis_protocol::wire::AuditRecord;

use crate::{Problem, ProblemKind};

/// Refuses a call without a token that is good. Each refusal is audited; when many come from one address they get slower,
/// so that nobody can fill the audit log. A good token is never slowed down.
pub(crate) async fn refuse(
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
        Ok(Some(pause)) => paused(refused, pause),
        // An answer that cannot be audited is not given.
        Err(error) => error.into(),
    }
}

/// Refuses a call of an address that must wait.
pub(crate) fn paused(refused: &Family, pause: Duration) -> Problem {
    refused.count(&["paused"]);
    Problem::new(ProblemKind::TooManyRefusals, "try again later, with the right token").retry_after(pause)
}
