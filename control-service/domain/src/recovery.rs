//! What a store that was restored from a backup lacks, and how it gets it back.
//!
//! A backup knows nothing of what came after it: suspensions, revocations, keys that were ended. Until it is known what
//! that was, or somebody says that it is not to be had, the service lets nobody through. Only what closes is done again:
//! nothing here opens anything.

mod export;

use serde::{Deserialize, Serialize};

use crate::audit::{AuditEvent, RecordedCaller};
use crate::caller::Caller;
use crate::clock::rfc3339;

pub use export::{AuditExport, Change, Closing, ExportGap, Left, Told};

/// By how much revisions and indexes of the audit log go on above those of the backup: more than can have been given out
/// since it was made.
pub const RESERVE: u64 = 1_000_000_000_000;

/// What is held of another life than the backup's, nobody here knows anything of: more than any revision.
pub const NOBODY_KNOWS: u64 = u64::MAX >> 1;

/// How long the gateways that poll after a restore may take to come, once the first one has.
const SETTLES_MS: u64 = 10_000;

/// A restore that has not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// When it was restored, milliseconds since the Unix epoch.
    pub restored_at_ms: u64,
    /// Name of the store's life before.
    pub generation: [u8; 16],
    /// Up to when nothing is missing.
    pub covered_until_ms: u64,
    /// Up to which revision of the life before nothing is missing.
    pub covered_revision: u64,
    /// The last record of the audit log of the life before that is known.
    pub covered_index: u64,
    /// Audit exports that were taken over; 0 again when one was unclear.
    pub exports: u64,
    /// The newest revision of the life before that a gateway holds; `None` while none has polled.
    pub held_revision: Option<u64>,
    /// When the first one polled.
    pub held_since_ms: Option<u64>,
}

/// Whether it is known what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is there again.
    Complete,
    /// Gateways are waited for.
    Waits,
    /// No audit export tells what came after the backup.
    NoExport,
    /// Gateways hold more than is known.
    Behind,
}

impl Recovery {
    /// Takes note of what a gateway holds; true when that is news.
    pub fn holds(&mut self, generation: &[u8], revision: u64, now_ms: u64) -> bool {
        if generation.is_empty() {
            return false;
        }
        let revision = if generation == self.generation { revision } else { NOBODY_KNOWS };
        if self.held_revision.is_some_and(|held| held >= revision) {
            return false;
        }
        self.held_revision = Some(revision);
        self.held_since_ms.get_or_insert(now_ms);
        true
    }

    /// Takes note of what an export tells, and up to which revision and time, where it is all there was.
    ///
    /// A record that does not tell what was changed stays in front of what is known: whatever is given later has to tell
    /// it, too, and until then no export counts.
    pub fn take(&mut self, export: &AuditExport, reaches: Option<(u64, u64)>) {
        let unclear = export.unclear.iter().min();
        let known = unclear.map_or(export.last_index, |index| index.saturating_sub(1));
        self.covered_index = self.covered_index.max(known);
        match (unclear, reaches) {
            (Some(_), _) => self.exports = 0,
            (None, Some((revision, until_ms))) => {
                self.exports += 1;
                self.covered_revision = self.covered_revision.max(revision);
                self.covered_until_ms = self.covered_until_ms.max(until_ms);
            }
            (None, None) => {}
        }
    }

    /// Whether it is known what is missing.
    #[must_use]
    pub fn verdict(&self, now_ms: u64) -> Verdict {
        if self.held_revision.is_some_and(|held| held > self.covered_revision) {
            return Verdict::Behind;
        }
        match self.held_since_ms {
            _ if self.exports == 0 => Verdict::NoExport,
            Some(since) if now_ms >= since.saturating_add(SETTLES_MS) => Verdict::Complete,
            _ => Verdict::Waits,
        }
    }

    /// Whether it is certain that the caller is still one: whoever got their token after the restore, since nothing that is
    /// missing can have revoked it.
    #[must_use]
    pub fn knows(&self, caller: &Caller) -> bool {
        caller.made_at_ms.is_some_and(|made_at_ms| made_at_ms >= self.restored_at_ms)
    }

    /// Why nobody is let through, since when, what opens the service, and the command to go on with, for people.
    #[must_use]
    pub fn reason(&self, now_ms: u64) -> String {
        let restored = format!("restored from a backup at {}; ", rfc3339(self.restored_at_ms));
        let (known, since) = (self.covered_revision, rfc3339(self.covered_until_ms));
        let accept = format!(
            "accept that changes are lost: `portcullis backup accept-loss --config control.yaml --since {since}`"
        );
        let go_on = format!(
            "give newer audit records: `portcullis backup recover --config control.yaml --audit-export FILE`; or, if there \
             are none, {accept}"
        );
        restored
            + &match self.verdict(now_ms) {
                Verdict::Complete | Verdict::Waits => format!(
                    "audit exports tell of every change up to revision {known}, {since}, and gateways are waited for: {}. The \
                     service opens by itself {} s after the first poll of a gateway at the mesh listener, if none that polls \
                     holds more than revision {known}; if no gateway is left that could poll, {accept}",
                    self.polled(),
                    SETTLES_MS / 1000
                ),
                Verdict::NoExport => format!(
                    "what was changed after {since} is not known, and no audit export tells of it up to the end of the log; \
                     polls of gateways alone do not open the service ({}): {go_on}",
                    self.polled()
                ),
                Verdict::Behind => format!(
                    "what is known ends at revision {known}, {since}, and a gateway holds more ({}): {go_on}",
                    self.polled()
                ),
            }
    }

    /// Which gateways have polled since the restore.
    fn polled(&self) -> String {
        match (self.held_since_ms, self.held_revision) {
            (Some(since), Some(held)) if held < NOBODY_KNOWS => {
                format!(
                    "the first polled at {}, and the newest revision that one holds is {held}",
                    rfc3339(since)
                )
            }
            (Some(since), _) => {
                format!(
                    "the first polled at {}, and one holds revisions of another life of the store",
                    rfc3339(since)
                )
            }
            (None, Some(_)) => {
                "the backup is of a store that was restored itself, and lacked changes".to_owned()
            }
            (None, None) => "none has polled since the restore".to_owned(),
        }
    }
}

/// What is audited of a restore and of what follows it.
#[must_use]
pub fn event(by: RecordedCaller, what: &str) -> AuditEvent {
    AuditEvent::on_the_machine(by, ["/backup/", what].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{CallerCredential, Role};

    fn restored() -> Recovery {
        Recovery {
            restored_at_ms: 5_000,
            generation: [7; 16],
            covered_until_ms: 1_000,
            covered_revision: 50,
            covered_index: 9,
            exports: 0,
            held_revision: None,
            held_since_ms: None,
        }
    }

    #[test]
    fn without_an_export_nothing_is_known_whatever_gateways_hold() {
        let mut recovery = restored();
        assert_eq!(recovery.verdict(6_000), Verdict::NoExport);
        assert!(recovery.holds(&[7; 16], 50, 6_000));
        assert_eq!(recovery.verdict(u64::MAX), Verdict::NoExport);
        let told = recovery.reason(6_000);
        for part in [
            "restored from a backup at 1970-01-01T00:00:05Z",
            "`portcullis backup recover --config control.yaml --audit-export FILE`",
            "`portcullis backup accept-loss --config control.yaml --since 1970-01-01T00:00:01Z`",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn an_export_counts_when_gateways_hold_no_more_than_it_tells() {
        let mut recovery = Recovery { exports: 1, covered_revision: 60, ..restored() };
        assert_eq!(recovery.verdict(u64::MAX), Verdict::Waits, "no gateway has come");
        let told = recovery.reason(u64::MAX);
        assert!(
            told.contains("none has polled since") && told.contains("10 s after the first poll"),
            "{told}"
        );
        assert!(!recovery.holds(&[], 0, 6_000), "one that restarted knows nothing");
        assert!(recovery.holds(&[7; 16], 60, 6_000));
        assert!(!recovery.holds(&[7; 16], 59, 7_000));
        assert_eq!(recovery.verdict(15_999), Verdict::Waits);
        let told = recovery.reason(15_999);
        assert!(told.contains("the first polled at 1970-01-01T00:00:06Z, and the newest revision"), "{told}");
        assert_eq!(recovery.verdict(16_000), Verdict::Complete);
        assert!(recovery.holds(&[7; 16], 61, 15_000));
        assert_eq!(recovery.verdict(u64::MAX), Verdict::Behind);
    }

    #[test]
    fn an_unclear_record_stays_in_front_of_what_is_known() {
        let mut recovery = Recovery { exports: 1, covered_revision: 50, ..restored() };
        assert!(recovery.holds(&[7; 16], 50, 6_000));
        assert_eq!(recovery.verdict(u64::MAX), Verdict::Complete);
        let unclear = AuditExport { last_index: 14, unclear: vec![12, 13], ..AuditExport::default() };
        for _ in 0..2 {
            recovery.take(&unclear, Some((60, 2_000)));
            assert_eq!((recovery.covered_index, recovery.covered_revision), (11, 50));
            assert_eq!(recovery.verdict(u64::MAX), Verdict::NoExport);
        }
        let clear = AuditExport { last_index: 14, ..AuditExport::default() };
        recovery.take(&clear, Some((60, 2_000)));
        assert_eq!((recovery.covered_index, recovery.covered_revision), (14, 60));
        assert_eq!(recovery.verdict(u64::MAX), Verdict::Complete);
    }

    #[test]
    fn only_a_token_of_after_the_restore_is_certainly_good() {
        let (credential, role) = (CallerCredential::Token { id: "0a".to_owned() }, Role::Administrator);
        let caller = |made_at_ms| Caller {
            credential: credential.clone(),
            role: role.clone(),
            expires_at_s: None,
            made_at_ms,
            voucher: None,
        };
        for (made_at_ms, known) in [(None, false), (Some(4_999), false), (Some(5_000), true)] {
            assert_eq!(restored().knows(&caller(made_at_ms)), known, "{made_at_ms:?}");
        }
    }

    #[test]
    fn a_gateway_of_another_life_holds_what_nobody_knows() {
        let mut recovery = Recovery { exports: 1, ..restored() };
        assert!(recovery.holds(&[8; 16], 1, 6_000));
        assert_eq!(recovery.verdict(u64::MAX), Verdict::Behind);
    }
}
