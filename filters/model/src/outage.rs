//! What is told of something that fails again and again: that it begins, that it changes, that it is over.

/// What was told of something that fails.
#[derive(Debug, Default)]
pub struct Outage {
    failures: u64,
    said: Option<String>,
}

impl Outage {
    /// Notes a failure. True when it is news and `may_say` agrees: the first one, or another error than the last.
    pub fn failed(&mut self, error: &str, may_say: impl FnOnce() -> bool) -> bool {
        self.failures = self.failures.saturating_add(1);
        let says = self.said.as_deref() != Some(error) && may_say();
        if says {
            self.said = Some(error.to_owned());
        }
        says
    }

    /// Notes that it works; after failures that were told of, how many there were.
    pub fn over(&mut self) -> Option<u64> {
        let Self { failures, said } = std::mem::take(self);
        said.map(|_| failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_it_begins_changes_and_ends() {
        let mut outage = Outage::default();
        assert_eq!(outage.over(), None);
        let said = ["down", "down", "401", "401"].map(|error| outage.failed(error, || true));
        assert_eq!(said, [true, false, true, false]);
        assert_eq!((outage.over(), outage.over()), (Some(4), None));
        // What could not be said is said later.
        assert!(!outage.failed("down", || false) && outage.failed("down", || true));
    }
}
