//! Whether the snapshot is known to have all of what is stored.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// When it was last confirmed that the snapshot has everything. Where this process alone can change what is stored, that
/// is so at any time.
#[derive(Debug)]
pub struct Freshness {
    bound: Option<Duration>,
    confirmed: watch::Sender<Instant>,
}

/// It was not confirmed for too long that this replica has all of what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this replica could not confirm of late that it has all of the database; ask another one, or again when it can"
)]
pub struct Behind;

impl Freshness {
    /// Of a snapshot that nobody else can change.
    #[must_use]
    pub fn always() -> Self {
        Self { bound: None, confirmed: watch::Sender::new(Instant::now()) }
    }

    /// Of a snapshot that has everything now, and counts as behind when that is not confirmed for so long.
    #[must_use]
    pub fn within(bound: Duration) -> Self {
        Self { bound: Some(bound), confirmed: watch::Sender::new(Instant::now()) }
    }

    /// The snapshot had everything at a moment. An earlier one changes nothing.
    pub fn confirm(&self, at: Instant) {
        self.confirmed.send_if_modified(|confirmed| {
            let newer = at > *confirmed;
            *confirmed = at.max(*confirmed);
            newer
        });
    }

    /// How long ago it was confirmed last; zero where it need not be.
    #[must_use]
    pub fn age(&self) -> Duration {
        let confirmed = *self.confirmed.borrow();
        if self.bound.is_none() { Duration::ZERO } else { confirmed.elapsed() }
    }

    /// What must be so before something is decided by the snapshot.
    ///
    /// # Errors
    /// [`Behind`].
    pub fn check(&self) -> Result<(), Behind> {
        let late = self.bound.is_some_and(|bound| self.age() >= bound);
        if late { Err(Behind) } else { Ok(()) }
    }

    /// Waits until it is certain that the snapshot has everything that was so at a moment.
    ///
    /// # Errors
    /// [`Behind`] when that is not confirmed in time.
    pub async fn has_all_of(&self, moment: Instant) -> Result<(), Behind> {
        let Some(bound) = self.bound else { return Ok(()) };
        let mut confirmed = self.confirmed.subscribe();
        let wait = confirmed.wait_for(|confirmed| *confirmed >= moment);
        match tokio::time::timeout(bound, wait).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Behind),
        }
    }

    /// Waits until the snapshot counts as behind.
    pub async fn until_behind(&self) -> Behind {
        let Some(bound) = self.bound else { return std::future::pending().await };
        while self.check().is_ok() {
            tokio::time::sleep(bound.saturating_sub(self.age())).await;
        }
        Behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_confirmed_in_time_is_behind_until_it_is_again() {
        let freshness = Freshness::within(Duration::from_millis(20));
        assert_eq!(freshness.until_behind().await, Behind);
        assert_eq!(freshness.check(), Err(Behind));
        let now = Instant::now();
        freshness.confirm(now + Duration::from_secs(5));
        freshness.confirm(now);
        assert_eq!(freshness.check(), Ok(()), "an answer that was overtaken takes nothing back");
        let (first, second) =
            tokio::join!(freshness.has_all_of(now), freshness.has_all_of(now + Duration::from_secs(6)));
        assert_eq!((first, second), (Ok(()), Err(Behind)));
        let alone = Freshness::always();
        assert_eq!(alone.has_all_of(now + Duration::from_secs(6)).await, Ok(()));
        assert_eq!((alone.check(), alone.age()), (Ok(()), Duration::ZERO));
    }
}
