//! How long something takes, counted by upper bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds, in milliseconds: from a read in memory to a poll that waits for a minute.
pub const BOUNDS_MS: [u64; 15] =
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// Times of one kind.
#[derive(Debug, Default)]
pub struct Histogram {
    within: [AtomicU64; BOUNDS_MS.len()],
    all: AtomicU64,
    microseconds: AtomicU64,
}

/// What a histogram holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Of each bound how many took no longer.
    pub within: [u64; BOUNDS_MS.len()],
    /// How many there were.
    pub all: u64,
    /// What they took together.
    pub sum: Duration,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        for (bound, count) in BOUNDS_MS.iter().zip(&self.within) {
            if took <= Duration::from_millis(*bound) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    /// What it holds.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let within = self.within.each_ref().map(|count| count.load(Ordering::Relaxed));
        // One that is being counted meanwhile must not be in a bound and missing in the whole.
        let most = within.iter().copied().max().unwrap_or_default();
        Observed {
            within,
            all: self.all.load(Ordering::Relaxed).max(most),
            sum: Duration::from_micros(self.microseconds.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_for_every_bound_that_it_is_within() {
        let histogram = Histogram::default();
        for ms in [0, 5, 6, 61_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let Observed { within, all, sum } = histogram.observed();
        assert_eq!(within, [1, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!((all, sum), (4, Duration::from_millis(61_011)));
    }
}
