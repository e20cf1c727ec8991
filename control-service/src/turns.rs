//! Who may be told of in the log now: what callers bring about must not fill it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Gives each name one turn in a second. Names are those of the configuration, so there are few.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<String, Instant>>);

impl Turns {
    /// Whether the turn of a name has come; it is used up by that.
    pub fn take(&self, name: &str) -> bool {
        self.take_at(name, Instant::now())
    }

    fn take_at(&self, name: &str, now: Instant) -> bool {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.retain(|_, taken| now.saturating_duration_since(*taken) < EVERY);
        let turn = !lately.contains_key(name);
        if turn {
            lately.insert(name.to_owned(), now);
        }
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_turn_in_a_second() {
        let (turns, now) = (Turns::default(), Instant::now());
        assert!(turns.take_at("a", now) && turns.take_at("b", now));
        assert!(!turns.take_at("a", now + Duration::from_millis(999)));
        assert!(turns.take_at("a", now + EVERY));
    }
}
