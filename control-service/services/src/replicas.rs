//! Which processes serve the same database, and how what all of them together may do is shared out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_control_domain::outage_log::OutageLog;
use portcullis_control_snapshot::Workers;
use portcullis_control_store::{LEASE, Replica, Store, StoreError};

/// How often a process says that it lives.
const RENEW: Duration = Duration::from_secs(1);
/// The same while something of that has changed.
const SETTLE: Duration = Duration::from_millis(100);
/// So much earlier than others a process that is cut off takes itself for dead.
const MARGIN: Duration = Duration::from_secs(1);
/// What the dead have left is removed with every so many renewals.
const TIDY_EVERY: u32 = 10;

/// A process' part of what all of them together may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which of the processes it is, from 0.
    rank: usize,
    /// How many there are.
    of: usize,
}

impl Share {
    /// Of who is alone.
    pub const WHOLE: Self = Self { rank: 0, of: 1 };

    /// Of a bound, so that the parts of all processes make up the whole; but each has one at least.
    #[must_use]
    pub fn part(self, whole: usize) -> usize {
        let of = self.of.max(1);
        (whole / of + usize::from(self.rank < whole % of)).max(1)
    }
}

/// What is known of the processes.
#[derive(Debug, Default)]
struct Known {
    /// Those that live, by the last answer of the database.
    living: Vec<String>,
    /// This one's part, once all the others know of it.
    share: Option<Share>,
    /// When the lease was renewed last.
    renewed: Option<Instant>,
}

/// The processes that serve the database of this one.
pub struct Replicas {
    store: Store,
    workers: Arc<Workers>,
    known: Mutex<Known>,
}

impl Replicas {
    /// Begins without any; [`Self::keep`] finds them.
    #[must_use]
    pub fn new(store: Store, workers: Arc<Workers>) -> Self {
        Self { store, workers, known: Mutex::default() }
    }

    /// This process' part of what all of them may do. `None` while it has none: others do not know of it yet, or it is
    /// cut off from the database and they take it for dead.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        if !self.store.is_shared() {
            return Some(Share::WHOLE);
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let lives = known.renewed.is_some_and(|at| at.elapsed() < LEASE - MARGIN);
        known.share.filter(|_| lives)
    }

    /// As [`Self::share`], once it has one, or when the time is over.
    pub async fn share_within(&self, time: Duration) -> Option<Share> {
        let begun = Instant::now();
        loop {
            let share = self.share();
            if share.is_some() || begun.elapsed() >= time {
                return share;
            }
            tokio::time::sleep(SETTLE / 2).await;
        }
    }

    /// Says that this process lives, and learns which others do, until it is dropped.
    pub async fn keep(&self) {
        if !self.store.is_shared() {
            return std::future::pending().await;
        }
        let mut outage = OutageLog::new(
            "other replicas cannot be told that this one lives",
            "other replicas are told that this one lives again",
        );
        let mut renewals = 0_u32;
        loop {
            renewals = renewals.wrapping_add(1);
            let settled = self.renew(renewals.is_multiple_of(TIDY_EVERY)).await;
            outage.note(settled.as_ref().err());
            tokio::time::sleep(if settled.unwrap_or(true) { RENEW } else { SETTLE }).await;
        }
    }

    /// Renews the lease; false while something changes.
    async fn renew(&self, tidy: bool) -> Result<bool, StoreError> {
        let begun = Instant::now();
        let members = self.known.lock().unwrap_or_else(PoisonError::into_inner).living.join(" ");
        let (living, is_new) = self.store.renew_lease(members, tidy).await?;
        if is_new {
            self.workers.are_unwritten();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let lapsed = known.renewed.is_none_or(|at| at.elapsed() >= LEASE - MARGIN);
        let had_share = known.share.is_some() && !lapsed && !is_new;
        let own = self.store.replica().as_str();
        let share = share_of(own, &living, had_share);
        let living: Vec<String> = living.iter().map(|replica| replica.id.as_str().to_owned()).collect();
        let settled = share.is_some() && living == known.living;
        if let Some(Share { rank, of }) = share.filter(|share| known.share != Some(*share)) {
            tracing::info!(rank, of, "this process' part of what all may do together");
        }
        if living != known.living {
            tracing::info!(replica = own, replicas = living.len(), "processes that serve the database");
        }
        *known = Known { living, share, renewed: Some(begun) };
        Ok(settled)
    }
}

/// The part of a process; none before all the others know of it, since until then they use the whole.
fn share_of(own: &str, living: &[Replica], had_share: bool) -> Option<Share> {
    let rank = living.iter().position(|replica| replica.id.as_str() == own)?;
    let mut others = living.iter().filter(|replica| replica.id.as_str() != own);
    let known = others.all(|other| other.members.split(' ').any(|member| member == own));
    (had_share || known).then_some(Share { rank, of: living.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_all_make_up_the_whole() {
        for of in 1..6 {
            for whole in of..70 {
                let sum: usize = (0..of).map(|rank| Share { rank, of }.part(whole)).sum();
                assert_eq!(sum, whole);
            }
        }
        assert_eq!(Share { rank: 2, of: 3 }.part(1), 1, "no replica is without any");
    }
}
