//! How often somebody may be made to work in vain: to ask an issuer for keys that nobody knows yet, and to try
//! another of its keys.
//!
//! Key ids in tokens are chosen by whoever sends them. A few questions go out at once, so that a made-up id
//! does not stand in the way of a real one; a flood of them is slowed down to a steady pace.

/// What may be had at once, and how fast it grows back.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    burst: u32,
    every_ms: u64,
    left: u32,
    filled_ms: u64,
}

impl TokenBucket {
    /// A full bucket of `burst` that gets one back every `every_ms`.
    #[must_use]
    pub fn new(burst: u32, every_ms: u64) -> Self {
        Self { burst, every_ms: every_ms.max(1), left: burst, filled_ms: 0 }
    }

    /// One that was empty so long ago, and of which nothing was taken since.
    #[must_use]
    pub fn emptied(burst: u32, every_ms: u64, ago_ms: u64, now_ms: u64) -> Self {
        let every_ms = every_ms.max(1);
        let left = u32::try_from(ago_ms / every_ms).unwrap_or(burst).min(burst);
        Self { burst, every_ms, left, filled_ms: now_ms }
    }

    /// Takes one; false when there is none. A clock that goes back gives nothing, until it goes on.
    pub fn take(&mut self, now_ms: u64) -> bool {
        self.filled_ms = self.filled_ms.min(now_ms);
        let grown = now_ms.saturating_sub(self.filled_ms) / self.every_ms;
        let left = u64::from(self.left).saturating_add(grown);
        if left >= u64::from(self.burst) {
            self.left = self.burst;
            self.filled_ms = now_ms;
        } else {
            self.left = u32::try_from(left).unwrap_or(self.burst);
            self.filled_ms = self.filled_ms.saturating_add(grown.saturating_mul(self.every_ms));
        }
        let had = self.left > 0;
        self.left = self.left.saturating_sub(1);
        had
    }

    /// Gives some back that were not used up.
    pub fn give_back(&mut self, some: u32) {
        self.left = self.left.saturating_add(some).min(self.burst);
    }
}

/// Questions that may go out about one issuer at once.
pub const BURST: u32 = 4;
/// Time in which one more may go out.
pub const EVERY_MS: u64 = 5_000;

/// Whether a question about a key may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefreshAdmission {
    /// It may go out now.
    Granted,
    /// The same was asked less than [`EVERY_MS`] ago.
    Duplicate,
    /// Too many were asked.
    Limited,
}

/// The questions about one issuer's keys: [`BURST`] at once, then one in [`EVERY_MS`], and the same one not
/// twice within that time. 16 in a minute at most.
#[derive(Debug, Clone)]
pub struct KeyRefreshLimiter {
    bucket: TokenBucket,
    /// What was asked lately, and when. Each of them took one from the bucket, so there are few.
    lately: Vec<(Box<str>, u64)>,
}

impl Default for KeyRefreshLimiter {
    fn default() -> Self {
        Self { bucket: TokenBucket::new(BURST, EVERY_MS), lately: Vec::new() }
    }
}

impl KeyRefreshLimiter {
    /// As it is at the latest when the last question went out so long ago, whoever asked.
    #[must_use]
    pub fn asked(ago_ms: u64, now_ms: u64) -> Self {
        Self { bucket: TokenBucket::emptied(BURST, EVERY_MS, ago_ms, now_ms), lately: Vec::new() }
    }

    /// Whether a question about this key may go out; if so, it is taken as asked.
    pub fn admit(&mut self, key_id: &str, now_ms: u64) -> KeyRefreshAdmission {
        self.lately.retain(|(_, asked_ms)| now_ms.saturating_sub(*asked_ms) < EVERY_MS);
        if self.lately.iter().any(|(known, _)| **known == *key_id) {
            return KeyRefreshAdmission::Duplicate;
        }
        if !self.bucket.take(now_ms) {
            return KeyRefreshAdmission::Limited;
        }
        self.lately.push((key_id.into(), now_ms));
        KeyRefreshAdmission::Granted
    }
}

/// Time between two questions that bad signatures lead to, in milliseconds.
pub const DOUBT_EVERY_MS: u64 = 60_000;

/// The questions about one issuer's keys that bad signatures lead to: a key may have been replaced under its name.
/// Anybody can make those, without knowing anything, so they have a bucket of their own and leave that of unknown
/// names alone.
#[derive(Debug, Clone)]
pub struct DoubtLimiter(TokenBucket);

impl Default for DoubtLimiter {
    fn default() -> Self {
        Self(TokenBucket::new(1, DOUBT_EVERY_MS))
    }
}

impl DoubtLimiter {
    /// As it is at the latest when the last question went out so long ago, whoever asked.
    #[must_use]
    pub fn asked(ago_ms: u64, now_ms: u64) -> Self {
        Self(TokenBucket::emptied(1, DOUBT_EVERY_MS, ago_ms, now_ms))
    }

    /// Whether a question may go out; if so, it is taken as asked.
    pub fn admit(&mut self, now_ms: u64) -> bool {
        self.0.take(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_burst_and_grows_back_steadily() {
        let mut bucket = TokenBucket::new(3, 100);
        let mut had = |now_ms| bucket.take(now_ms);
        assert_eq!([had(1_000), had(1_000), had(1_000), had(1_000)], [true, true, true, false]);
        assert_eq!([had(1_099), had(1_100), had(1_199), had(1_250)], [false, true, false, true]);
        // The half that had grown at 1,250 is not lost.
        assert_eq!([had(1_299), had(1_300)], [false, true]);
        assert_eq!([had(9_000), had(9_000), had(9_000), had(9_000)], [true, true, true, false]);
        assert!(!had(0), "a clock that goes back gives nothing");
        assert_eq!([had(99), had(100), had(100)], [false, true, false], "and goes on from there");
        bucket.give_back(2);
        assert_eq!([bucket.take(100), bucket.take(100), bucket.take(100)], [true, true, false]);
        bucket.give_back(9);
        assert_eq!(
            [bucket.take(100), bucket.take(100), bucket.take(100), bucket.take(100)],
            [true, true, true, false]
        );
    }

    /// Whoever asks on in the place of another does not know what that one has left. It takes the least that may be.
    #[test]
    fn two_who_ask_one_after_the_other_keep_the_bound_of_one() {
        let (now, mut granted) = (1_000_000, 0);
        let mut ask = |limiter: &mut KeyRefreshLimiter, at_ms: u64| {
            let key = ["made-up-", &granted.to_string()].concat();
            granted += usize::from(limiter.admit(&key, at_ms) == KeyRefreshAdmission::Granted);
            granted
        };
        let mut first = KeyRefreshLimiter::default();
        for _ in 0..9 {
            ask(&mut first, now);
        }
        let mut second = KeyRefreshLimiter::asked(1_000, 7);
        let after = |seconds: u64| 7 + seconds * 1_000;
        assert_eq!([ask(&mut second, after(0)), ask(&mut second, after(4))], [4, 4]);
        assert_eq!(
            [ask(&mut second, after(5)), ask(&mut second, after(6)), ask(&mut second, after(10))],
            [5, 5, 6]
        );
        let mut rested = KeyRefreshLimiter::asked(3_600_000, 7);
        let had = |n: &u64| rested.admit(&n.to_string(), 7) == KeyRefreshAdmission::Granted;
        assert_eq!((0..9).filter(had).count(), 4);
        let mut doubts = DoubtLimiter::asked(59_000, 7);
        assert!(!doubts.admit(7) && doubts.admit(7 + DOUBT_EVERY_MS));
        assert!(DoubtLimiter::asked(60_000, 7).admit(7));
    }

    #[test]
    fn a_made_up_key_does_not_stand_in_the_way_of_a_real_one() {
        let mut refresh_limiter = KeyRefreshLimiter::default();
        assert_eq!(refresh_limiter.admit("made-up", 0), KeyRefreshAdmission::Granted);
        assert_eq!(refresh_limiter.admit("real", 1), KeyRefreshAdmission::Granted);
        for now_ms in 2..1_000 {
            assert_eq!(
                refresh_limiter.admit("made-up", now_ms),
                KeyRefreshAdmission::Duplicate,
                "the same costs nothing"
            );
        }
        assert_eq!(refresh_limiter.admit("next", 1_000), KeyRefreshAdmission::Granted);
        assert_eq!(refresh_limiter.admit("made-up", EVERY_MS), KeyRefreshAdmission::Granted);
    }

    #[test]
    fn a_flood_is_slowed_down_and_holds_little_memory() {
        let mut refresh_limiter = KeyRefreshLimiter::default();
        let asked = (0..60_000)
            .filter(|ms| refresh_limiter.admit(&ms.to_string(), *ms) == KeyRefreshAdmission::Granted)
            .count();
        assert_eq!(asked, 15);
        assert!(refresh_limiter.lately.len() <= 5);
    }
}
