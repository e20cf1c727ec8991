//! Which log lines may be written now: what callers bring about must not fill the log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Allows each name one line a second. Names are those of the configuration, so there are few.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<HashMap<String, Instant>>);

impl LogThrottle {
    /// Whether a line about this name may be written now; if so, it counts as written.
    pub fn allow(&self, name: &str) -> bool {
        self.allow_at(name, Instant::now())
    }

    fn allow_at(&self, name: &str, now: Instant) -> bool {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.retain(|_, taken| now.saturating_duration_since(*taken) < EVERY);
        let allowed = !lately.contains_key(name);
        if allowed {
            lately.insert(name.to_owned(), now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_line_in_a_second() {
        let (throttle, now) = (LogThrottle::default(), Instant::now());
        assert!(throttle.allow_at("a", now) && throttle.allow_at("b", now));
        assert!(!throttle.allow_at("a", now + Duration::from_millis(999)));
        assert!(throttle.allow_at("a", now + EVERY));
    }
}
