//! Pauses between tries.

use std::time::Duration;

use portcullis_control_domain::retry::{self, LONGEST_ASKED};

/// Pauses that grow, each of another length for each agent: they were cut off at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff(retry::Backoff);

impl Backoff {
    /// The pause after one more failure, and at least for as long as was asked for.
    pub(crate) fn next(&mut self, asked: Option<Duration>, longest: Duration) -> Duration {
        self.0.failed(longest.min(LONGEST_ASKED), asked, bits())
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.0.good();
    }
}

/// A part of a whole by chance, from 0 to 1.
pub(crate) fn share() -> f64 {
    f64::from(bits()) / f64::from(u32::MAX)
}

/// Not secret: an agent goes on where the system has none.
fn bits() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = retry::PAUSES.0;

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew() {
        let mut pauses = Backoff::default();
        let most = Duration::from_secs(30);
        let taken: Vec<_> = (0..40).map(|_| pauses.next(None, most)).collect();
        assert!(taken[0] <= FIRST && taken[0] >= FIRST / 2 && taken[1] > FIRST / 2, "{taken:?}");
        assert!(taken[39] <= most && taken[39] >= most / 2, "{taken:?}");
        assert_eq!(pauses.next(Some(most * 2), most), most * 2);
        pauses.reset();
        assert!(pauses.next(None, most) <= FIRST);
    }
}
