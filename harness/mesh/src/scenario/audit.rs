//! The audit log knows every request that the scenario can name, with the decision that was taken.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Scenario;
use crate::error::Result;

/// How long records may take to arrive: filters ship them in batches.
const DEADLINE: Duration = Duration::from_secs(60);

impl Scenario<'_> {
    /// Notes whether every request has its record; returns the newest records.
    pub(super) async fn audit(&mut self) -> Result<Vec<Value>> {
        let (start, admin) = (Instant::now(), self.mesh.admin()?.clone());
        let mut missing = self.traced.clone();
        let all = missing.len();
        while !missing.is_empty() && start.elapsed() < DEADLINE {
            let mut still = Vec::new();
            for (id, decision) in missing {
                let found = admin.audit(&format!("request_id={id}")).await?;
                if found.len() != 1 || found.iter().any(|record| record["decision"] != decision) {
                    still.push((id, decision));
                }
            }
            missing = still;
            if !missing.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        let outcome = match missing.first() {
            None => Ok(()),
            Some((id, decision)) => {
                Err(format!("{} of {all} not recorded once as {decision}, first {id}", missing.len()))
            }
        };
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
