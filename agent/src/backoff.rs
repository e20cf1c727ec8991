//! Pauses between tries.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LAST: Duration = Duration::from_secs(300);

/// Pauses that grow, each of another length for each agent: they were cut off at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The pause after one more failure, and at least for as long as was asked for.
    pub(crate) fn next(&mut self, asked: Option<Duration>, longest: Duration) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(16)).min(longest.min(LAST));
        self.tries = self.tries.saturating_add(1);
        whole.mul_f64(0.5 + share() / 2.0).max(asked.unwrap_or_default().min(LAST))
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A part of a whole by chance, from 0 to 1.
pub(crate) fn share() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
