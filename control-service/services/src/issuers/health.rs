//! How an issuer's keys are doing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_authn::jwk::LeftOut;
use portcullis_control_domain::clock::millis;
use portcullis_control_domain::issuer::KeyState;

use super::word::Resume;

/// What is known of the fetches of one issuer's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// The last good fetch, milliseconds since the Unix epoch; 0 for none yet.
    pub fetched_at_ms: u64,
    /// Good fetches since the start.
    pub fetched: u64,
    /// Failed fetches since the start.
    pub failed: u64,
    /// Whether the last fetch failed.
    pub fails: bool,
    /// What the last fetch failed by.
    pub last_error: Option<String>,
    /// For how long after a good fetch the keys are used, milliseconds.
    pub max_stale_ms: u64,
    /// What the last good fetch brought and is no key.
    pub unread: Vec<LeftOut>,
    /// Failures in a row, and until when the issuer wants not to be asked.
    pub failures: u32,
    pub not_before_ms: u64,
    /// When it was asked last, and when it is asked next.
    pub asked_at_ms: u64,
    pub next_at_ms: u64,
}

/// Shared between the task that fetches and whoever asks.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<Health>);

impl Watched {
    /// Begins with a good fetch of an earlier life; 0 for none.
    pub(super) fn since(fetched_at_ms: u64, max_stale: Duration) -> Self {
        let max_stale_ms = millis(max_stale);
        Self(Mutex::new(Health { fetched_at_ms, max_stale_ms, ..Health::default() }))
    }

    pub(super) fn get(&self) -> Health {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is asked now.
    pub(super) fn asked(&self, now_ms: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked_at_ms = now_ms;
    }

    /// Goes on where another replica was.
    pub(super) fn resumed(&self, from: &Resume) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        health.fetched = from.fetched;
        health.failed = from.failed;
        health.fails = from.last_error.is_some();
        health.last_error.clone_from(&from.last_error);
        health.failures = from.failures;
        health.not_before_ms = from.not_before_ms;
        health.asked_at_ms = from.asked_at_ms;
        health.next_at_ms = from.next_at_ms;
    }

    /// Notes when the issuer is asked next, and how often it has failed until now.
    pub(super) fn goes_on(&self, failures: u32, next_at_ms: u64) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (health.failures, health.next_at_ms) = (failures, next_at_ms);
    }

    /// Notes until when the issuer wants not to be asked.
    pub(super) fn rests(&self, not_before_ms: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).not_before_ms = not_before_ms;
    }

    /// Notes a good fetch.
    pub(super) fn good(&self, now_ms: u64, unread: Vec<LeftOut>) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        health.fetched_at_ms = now_ms;
        health.fetched += 1;
        health.last_error = None;
        health.unread = unread;
        health.fails = false;
        (health.failures, health.not_before_ms) = (0, 0);
    }

    /// Notes a failure.
    pub(super) fn bad(&self, error: String) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        health.failed += 1;
        health.last_error = Some(error);
        health.fails = true;
    }
}

impl Health {
    /// Whether the keys are current.
    #[must_use]
    pub(super) fn state(&self, now_ms: u64) -> KeyState {
        match (self.fetched_at_ms, self.fails) {
            (0, _) => KeyState::Missing,
            (at, _) if are_expired(at, self.max_stale_ms, now_ms) => KeyState::Expired,
            (_, true) => KeyState::Stale,
            (_, false) => KeyState::Fresh,
        }
    }
}

/// Whether keys that were fetched then are too old to be used.
pub(super) fn are_expired(fetched_at_ms: u64, max_stale_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(fetched_at_ms) >= max_stale_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn keys_are_stale_from_the_first_failure_to_the_next_good_fetch() {
        let watched = Watched::since(0, DAY);
        assert_eq!(watched.get().state(9), KeyState::Missing);
        watched.bad("down".to_owned());
        assert_eq!(watched.get().state(9), KeyState::Missing, "there are no keys that could be stale");
        watched.good(2, Vec::new());
        assert_eq!(watched.get().state(9), KeyState::Fresh);
        watched.bad("down".to_owned());
        watched.bad("still down".to_owned());
        let health = watched.get();
        assert_eq!((health.state(9), health.failed, health.fetched_at_ms), (KeyState::Stale, 3, 2));
        watched.good(5, Vec::new());
        assert_eq!(watched.get().last_error, None);
    }

    #[test]
    fn keys_of_an_earlier_life_count_until_a_fetch_fails() {
        let watched = Watched::since(7, DAY);
        assert_eq!(watched.get().state(9), KeyState::Fresh);
        watched.bad("down".to_owned());
        assert_eq!(watched.get().state(9), KeyState::Stale);
    }

    #[test]
    fn keys_that_nobody_confirmed_for_too_long_are_expired() {
        let watched = Watched::since(5_000, Duration::from_secs(10));
        let state = |now_ms| watched.get().state(now_ms);
        assert_eq!((state(14_999), state(15_000)), (KeyState::Fresh, KeyState::Expired));
        watched.bad("down".to_owned());
        assert_eq!((state(14_999), state(15_000)), (KeyState::Stale, KeyState::Expired));
        watched.good(16_000, Vec::new());
        assert_eq!((state(25_999), state(26_000)), (KeyState::Fresh, KeyState::Expired));
        // A clock that was set back does not make keys older.
        assert_eq!(state(0), KeyState::Fresh);
    }
}
