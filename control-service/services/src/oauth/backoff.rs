//! Slowing down whoever guesses secrets.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

/// Failures that cost nothing: typing errors.
const FREE: u32 = 5;
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Clients remembered; of more, those that failed longest ago are forgotten.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// Whom failures are counted for: a client, and whether the attempt named one of its secrets. Without the
/// second, anybody who knows a client's id could shut it out.
type Who = (String, bool);

/// Pauses by client: none for the first failures, then doubling up to a minute.
#[derive(Debug)]
pub struct Backoff(Mutex<LruCache<Who, (u32, Instant)>>);

impl Default for Backoff {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_CLIENTS)))
    }
}

impl Backoff {
    /// How long this client must still wait; `None` when it may try.
    #[must_use]
    pub fn pause(&self, client: &str, names_a_secret: bool, now: Instant) -> Option<Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, until) = known.get(&(client.to_owned(), names_a_secret))?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Notes a wrong secret.
    pub fn failed(&self, client: &str, names_a_secret: bool, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get_or_insert_mut((client.to_owned(), names_a_secret), || (0, now));
        entry.0 = entry.0.saturating_add(1);
        if let Some(over) = entry.0.checked_sub(FREE) {
            let pause = Duration::from_secs(1u64.checked_shl(over).unwrap_or(u64::MAX)).min(MAX_PAUSE);
            entry.1 = now + pause;
        }
    }

    /// Notes the right secret.
    pub fn succeeded(&self, client: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(&(client.to_owned(), true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_end_with_the_right_secret() {
        let (backoff, begin) = (Backoff::default(), Instant::now());
        for _ in 0..4 {
            backoff.failed("a", true, begin);
        }
        assert_eq!(backoff.pause("a", true, begin), None, "typing errors cost nothing");
        for wanted in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.failed("a", true, begin);
            assert_eq!(backoff.pause("a", true, begin), Some(Duration::from_secs(wanted)));
        }
        for _ in 0..100 {
            backoff.failed("a", true, begin);
        }
        assert_eq!(backoff.pause("a", true, begin), Some(MAX_PAUSE));
        assert_eq!(backoff.pause("a", true, begin + MAX_PAUSE), None);
        backoff.succeeded("a");
        assert_eq!(backoff.pause("a", true, begin), None);
    }

    #[test]
    fn who_does_not_know_a_secret_cannot_shut_its_holder_out() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        for _ in 0..100 {
            backoff.failed("a", false, now);
        }
        assert!(backoff.pause("a", false, now).is_some());
        assert_eq!(backoff.pause("a", true, now), None);
        assert_eq!(backoff.pause("b", false, now), None);
    }

    #[test]
    fn made_up_clients_do_not_grow_memory() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        for n in 0..20_000 {
            backoff.failed(&n.to_string(), false, now);
        }
        assert_eq!(backoff.0.lock().unwrap().len(), MAX_CLIENTS.get());
    }
}
