//! Pauses between attempts that fail.

/// The pause after so many failures in a row: each is twice as long as the one before, from the first to the longest.
#[must_use]
pub fn pause_ms((first_ms, longest_ms): (u64, u64), failures: u32) -> u64 {
    first_ms.saturating_mul(1 << failures.min(10)).min(longest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [0, 1, 2, 5, 6, 10, 11, u32::MAX].map(|failures| pause_ms((100, 5_000), failures));
        assert_eq!(pauses, [100, 200, 400, 3_200, 5_000, 5_000, 5_000, 5_000]);
        assert_eq!(pause_ms((u64::MAX, u64::MAX), 3), u64::MAX);
    }
}
