//! What fails is tried again: ever more rarely, and not by everybody at once.

use std::time::Duration;

/// The first pause, and the longest for something that others wait for.
pub const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A longer pause is not taken, whatever a server asks for.
pub const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The pauses between tries that fail: each twice as long as the one before, up to a bound.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Goes on after so many failures in a row.
    #[must_use]
    pub fn after(failures: u32) -> Self {
        Self { failures }
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A try was good.
    pub fn good(&mut self) {
        self.failures = 0;
    }

    /// A try failed: how long to wait for the next one. `asked`: what the server's `Retry-After` says. `random`: any
    /// number, by which those that failed together do not come back together.
    pub fn failed(&mut self, longest: Duration, asked: Option<Duration>, random: u32) -> Duration {
        let pause = PAUSES.0.saturating_mul(1 << self.failures.min(20)).min(longest);
        self.failures = self.failures.saturating_add(1);
        let part = f64::from(random) / f64::from(u32::MAX);
        let pause = pause.mul_f64(0.5 + 0.5 * part);
        asked.map_or(pause, |asked| pause.max(asked.min(LONGEST_ASKED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let (mut backoff, longest) = (Backoff::default(), PAUSES.1);
        let mut whole = |asked| backoff.failed(longest, asked, u32::MAX).as_secs();
        assert_eq!([0; 9].map(|_| whole(None)), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.failed(longest, None, 0), longest / 2);
        backoff.good();
        assert_eq!(backoff.failed(longest, None, u32::MAX), PAUSES.0);
        let mut endless = Backoff { failures: u32::MAX };
        assert_eq!(endless.failed(longest, None, u32::MAX), longest);
    }

    #[test]
    fn a_server_may_ask_for_more_and_not_for_ever() {
        let asked = |seconds| {
            let asked = Some(Duration::from_secs(seconds));
            Backoff::default().failed(PAUSES.1, asked, u32::MAX).as_secs()
        };
        assert_eq!([0, 30, 300, 301, u64::MAX].map(asked), [1, 30, 300, 300, 300]);
    }
}
