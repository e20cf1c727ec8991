//! Slowing down whoever guesses secrets.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::millis;

/// Failures that cost nothing: typing errors.
const FREE: u32 = 5;
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// Failures are forgotten after so long without another: whoever waits for that gets fewer tries than by [`LONGEST`].
pub const FORGET: Duration = Duration::from_secs(3600);
/// Names remembered; of more, those that failed longest ago are forgotten.
pub const MOST: usize = 10_000;

/// Whom failures are counted for. Of the name there is only a digest: anybody makes them up, at any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseName(pub [u8; 32]);

impl PauseName {
    fn of(parts: &[&str]) -> Self {
        Self(Sha256::digest(parts.join("\0")).into())
    }

    /// An address from which calls come without an administrator's token.
    #[must_use]
    pub fn platform_caller(address: &str) -> Self {
        Self::of(&["platform", address])
    }

    /// An address from which heartbeats come without the token of their cluster.
    #[must_use]
    pub fn cluster_caller(address: &str) -> Self {
        Self::of(&["heartbeat", address])
    }

    /// An address from which agents call without a join token or a certificate that is good.
    #[must_use]
    pub fn agent_caller(address: &str) -> Self {
        Self::of(&["agent", address])
    }

    /// An address from which token requests come that prove no client. Not counted with those of
    /// [`Self::platform_caller`], which may come by the same gateway.
    #[must_use]
    pub fn token_caller(address: &str) -> Self {
        Self::of(&["token endpoint", address])
    }

    /// A client, and whether the attempt named one of its secrets. Without the second, anybody who knows a client's id
    /// could shut it out.
    #[must_use]
    pub fn client(id: &str, names_a_secret: bool) -> Self {
        Self::of(&[if names_a_secret { "client's secret" } else { "client" }, id])
    }
}

/// What is kept of failures: none for the first ones costs a pause, then it doubles up to a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pause {
    /// How many there were.
    pub failures: u32,
    /// When the last one was, milliseconds since the Unix epoch.
    pub failed_at_ms: u64,
    /// Until when further ones must wait.
    pub until_ms: u64,
}

impl Pause {
    /// How long the next try must still wait; `None` when it may be made. A clock that was set back ends a pause.
    #[must_use]
    pub fn left(&self, now_ms: u64) -> Option<Duration> {
        let left = self.until_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
        (now_ms >= self.failed_at_ms).then_some(Duration::from_millis(left))
    }

    /// What one more failure makes of it.
    #[must_use]
    pub fn failed(self, now_ms: u64) -> Self {
        let failures = self.failures.saturating_add(1);
        let pause = failures.checked_sub(FREE).map_or(Duration::ZERO, |over| {
            Duration::from_secs(1u64.checked_shl(over).unwrap_or(u64::MAX)).min(LONGEST)
        });
        let pause_ms = millis(pause);
        Self { failures, failed_at_ms: now_ms, until_ms: now_ms.saturating_add(pause_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut pause = Pause::default();
        for _ in 0..4 {
            pause = pause.failed(1_000);
            assert_eq!(pause.left(1_000), None, "typing errors cost nothing");
        }
        for wanted in [1, 2, 4, 8, 16, 32, 60, 60] {
            pause = pause.failed(1_000);
            assert_eq!(pause.left(1_000), Some(Duration::from_secs(wanted)));
        }
        for _ in 0..100 {
            pause = pause.failed(1_000);
        }
        assert_eq!(pause.left(1_000), Some(LONGEST));
        assert_eq!((pause.left(60_999), pause.left(61_000)), (Some(Duration::from_millis(1)), None));
        assert_eq!(pause.left(999), None, "a clock that was set back does not make it longer");
        let endless = Pause { failures: u32::MAX, ..pause };
        assert_eq!(endless.failed(0).left(0), Some(LONGEST));
    }

    #[test]
    fn who_does_not_know_a_secret_cannot_shut_its_holder_out() {
        let names = [
            PauseName::client("a", true),
            PauseName::client("a", false),
            PauseName::client("b", false),
            PauseName::token_caller("a"),
            PauseName::cluster_caller("a"),
            PauseName::agent_caller("a"),
            PauseName::platform_caller("a"),
        ];
        for (n, name) in names.iter().enumerate() {
            assert!(!names[..n].contains(name));
        }
    }
}
