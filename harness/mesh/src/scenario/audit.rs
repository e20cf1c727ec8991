//! The audit log knows every request that the scenario can name, with the decision that was taken.

use std::time::Instant;

use serde_json::Value;

use super::Scenario;
use crate::error::Result;
use crate::wait::{self, Seen};

impl Scenario<'_> {
    /// Notes whether every request has its record; returns the newest records.
    pub(super) async fn audit(&mut self) -> Result<Vec<Value>> {
        let (start, admin) = (Instant::now(), self.mesh.admin()?.clone());
        let mut missing = self.traced.clone();
        let all = missing.len();
        let log = self.mesh.log("control");
        // Filters ship records in batches.
        let outcome = wait::until("the audit records", &log, async || {
            let mut still = Vec::new();
            for (id, decision) in missing.drain(..) {
                let found = admin.audit(&format!("request_id={id}")).await?;
                if found.len() != 1 || found.iter().any(|record| record["decision"] != decision) {
                    still.push((id, decision));
                }
            }
            missing = still;
            Ok(match missing.first() {
                None => Seen::Done(()),
                Some((id, decision)) => Seen::NotYet(format!(
                    "{} of {all} not recorded once as {decision}, first {id}",
                    missing.len()
                )),
            })
        });
        let outcome = outcome.await.map_err(|error| error.to_string());
        self.outcome(
            "auditor",
            &format!("{all} requests in the audit log"),
            "each once",
            outcome,
            start.elapsed(),
        );
        let mut records = Vec::new();
        for (id, _) in self.traced.iter().rev().take(12) {
            records.extend(admin.audit(&format!("request_id={id}")).await?);
        }
        Ok(records)
    }
}
