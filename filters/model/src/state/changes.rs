//! What changed in a snapshot, for whatever stands on it: open streams are decided again when one of their
//! grounds changes, and only then.

use std::collections::VecDeque;

use portcullis_identity::ClusterId;

/// Changes that are remembered. Who is further behind takes everything for changed.
const KEPT: usize = 4_096;

/// A part of policy on which a decision can stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ground {
    /// A data cluster: its owner and its state.
    Cluster(ClusterId),
    /// A revocation of this name (`jti:…`, `sub:…`, `sid:…`, `kid:…` or `client:…`).
    Revocation(Box<str>),
    /// A revocation whose name has this digest: all that a sidecar is told.
    RevocationDigest([u8; 32]),
    /// The API key of this digest.
    ApiKey([u8; 32]),
    /// An issuer of tokens: its policy, its keys, its secret.
    Issuer(Box<str>),
    /// A provider of introspection.
    Provider(Box<str>),
    /// The rules that tell the source type.
    SourceRules,
    /// What workloads may do.
    Workloads,
    /// What clusters ask of callers.
    Resources,
}

/// The changes of a snapshot, numbered in their order.
#[derive(Debug, Default)]
pub struct ChangeLog {
    /// The number of the first that is kept.
    first: u64,
    kept: VecDeque<Ground>,
}

impl ChangeLog {
    /// Notes a change.
    pub(super) fn note(&mut self, ground: Ground) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
            self.first = self.first.saturating_add(1);
        }
        self.kept.push_back(ground);
    }

    /// Notes that anything may have changed.
    pub(super) fn note_everything(&mut self) {
        self.first = self.end().saturating_add(1);
        self.kept.clear();
    }

    /// The number that the next change will have.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.kept.len()).unwrap_or(u64::MAX))
    }

    /// The changes since a number; `None` where anything may have changed since.
    #[must_use]
    pub fn since(&self, seen: u64) -> Option<impl Iterator<Item = &Ground>> {
        // Who has seen more has seen another log.
        let known = seen <= self.end();
        let skipped = usize::try_from(seen.checked_sub(self.first).filter(|_| known)?).ok()?;
        Some(self.kept.iter().skip(skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(log: &ChangeLog, since: u64) -> Option<Vec<Ground>> {
        log.since(since).map(|changes| changes.cloned().collect())
    }

    #[test]
    fn a_reader_gets_what_it_has_not_seen() {
        let mut log = ChangeLog::default();
        assert_eq!((log.end(), seen(&log, 0)), (0, Some(vec![])));
        log.note(Ground::SourceRules);
        log.note(Ground::Workloads);
        assert_eq!(seen(&log, 0).unwrap().len(), 2);
        assert_eq!(seen(&log, 1), Some(vec![Ground::Workloads]));
        assert_eq!(seen(&log, log.end()), Some(vec![]));
        assert_eq!(seen(&log, log.end() + 1), None, "another log");
    }

    #[test]
    fn who_is_too_far_behind_takes_everything_for_changed() {
        let mut log = ChangeLog::default();
        log.note_everything();
        assert_eq!(seen(&log, 0), None);
        let current = log.end();
        assert_eq!(seen(&log, current), Some(vec![]));
        for _ in 0..=KEPT {
            log.note(Ground::SourceRules);
        }
        assert_eq!(seen(&log, current), None);
        assert_eq!(seen(&log, current + 1).unwrap().len(), KEPT);
    }
}
