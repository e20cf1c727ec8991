//! When API keys were last used, as audit records tell it: collected in memory and written now and then.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use portcullis_protocol::wire::AuditRecord;

/// Keys remembered between two writes at most; of more, the times are lost, which costs no audit record.
const MAX_KEYS: usize = 100_000;

/// The latest use of each key since the last write.
#[derive(Debug, Default)]
pub(crate) struct Usage(Mutex<HashMap<String, u64>>);

impl Usage {
    /// Takes note of a record. A refused request is no use of the key.
    pub(crate) fn note(&self, record: &AuditRecord) {
        // PostgreSQL's text holds no zero byte, and the id of no key does.
        let is_an_id = !record.key_id.is_empty() && !record.key_id.contains('\0');
        // Nor does the database hold a time beyond this: those of other keys would be lost with it.
        let is_a_time = i64::try_from(record.time_ms).is_ok();
        if record.credential != "api_key" || !is_an_id || !is_a_time || record.decision != "allow" {
            return;
        }
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MAX_KEYS && !used.contains_key(&record.key_id) {
            return;
        }
        let latest = used.entry(record.key_id.clone()).or_default();
        *latest = (*latest).max(record.time_ms);
    }

    /// The uses since the last time.
    pub(crate) fn take(&self) -> Vec<(String, u64)> {
        let used = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        used.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(credential: &str, key_id: &str, decision: &str, time_ms: u64) -> AuditRecord {
        AuditRecord {
            credential: credential.to_owned(),
            key_id: key_id.to_owned(),
            decision: decision.to_owned(),
            time_ms,
            ..AuditRecord::default()
        }
    }

    #[test]
    fn only_the_latest_good_use_of_an_api_key_counts() {
        let usage = Usage::default();
        for (credential, key, decision, time) in [
            ("api_key", "a", "allow", 5),
            ("api_key", "a", "allow", 3),
            ("api_key", "b", "refuse", 9),
            ("jwt", "c", "allow", 9),
            ("api_key", "", "allow", 9),
            ("api_key", "a\0", "allow", 9),
            ("api_key", "a", "allow", u64::MAX),
            ("api_key", "d", "allow", i64::MAX.unsigned_abs() + 1),
        ] {
            usage.note(&record(credential, key, decision, time));
        }
        assert_eq!(usage.take(), [("a".to_owned(), 5)]);
        assert!(usage.take().is_empty());
    }
}
