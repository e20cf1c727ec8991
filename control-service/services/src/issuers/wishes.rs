//! Filters' wishes for keys at a replica that does not lead: the leader carries them out, so that the bounds and pauses
//! of an issuer are kept in one place, whichever replica is asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use portcullis_control_store::{KeyWish, StoreError, WishState};
use tokio::task::JoinSet;

use super::{Issuers, RefreshOutcome};

/// How often a leader looks for wishes, and who has one whether it is carried out.
const LOOK: Duration = Duration::from_millis(100);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How long a wish may take: a fetch of two calls, and a moment for another leader to come.
const WISH_TIME: Duration = Duration::from_secs(15);
/// How long this replica may take to have what a wish has brought.
const FOLLOW: Duration = Duration::from_secs(2);

impl RefreshOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::TooSoon => "too_soon",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }

    /// What is no outcome is a failure.
    fn read(text: &str) -> Self {
        let all = [Self::Published, Self::TooSoon, Self::Unknown];
        all.into_iter().find(|outcome| outcome.as_str() == text).unwrap_or(Self::Failed)
    }
}

impl Issuers {
    /// Has the leader fetch an issuer's keys.
    pub(super) async fn ask_leader(&self, issuer: &str, key_id: &str) -> RefreshOutcome {
        let Ok(_place) = self.wishes.try_acquire() else { return RefreshOutcome::TooSoon };
        match tokio::time::timeout(WISH_TIME, self.wish(issuer, key_id)).await {
            Ok(Ok(outcome)) => outcome,
            // Filters ask again and again; what reads and writes the snapshot tells of an outage.
            Ok(Err(error)) => {
                tracing::debug!(issuer, %error, "the leader cannot be asked for keys");
                RefreshOutcome::Failed
            }
            Err(_) => {
                tracing::warn!(issuer, "the leader has not fetched keys in time");
                RefreshOutcome::Failed
            }
        }
    }

    async fn wish(&self, issuer: &str, key_id: &str) -> Result<RefreshOutcome, StoreError> {
        let id = self.store.wish(issuer.to_owned(), key_id.to_owned()).await?;
        let (outcome, revision) = loop {
            tokio::time::sleep(LOOK / 2).await;
            match self.store.wish_state(id.clone()).await? {
                WishState::Open => {}
                WishState::Done(outcome, revision) => break (RefreshOutcome::read(&outcome), revision),
                WishState::Gone => return Ok(RefreshOutcome::Failed),
            }
        };
        let has_it = async {
            while self.store.hub().revision() < revision {
                tokio::time::sleep(LOOK / 10).await;
            }
        };
        // A filter that polls too early polls again.
        let _ = tokio::time::timeout(FOLLOW, has_it).await;
        Ok(outcome)
    }

    /// Carries out what other replicas wish for, as the leader, until it is dropped.
    pub(super) async fn serve_wishes(self: Arc<Self>) {
        let (mut under_way, mut tasks) = (HashSet::new(), JoinSet::new());
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                Some(done) = tasks.join_next() => {
                    if let Ok(id) = done {
                        under_way.remove(&id);
                    }
                    continue;
                }
            }
            match self.store.open_wishes().await {
                Ok(open) => {
                    for wish in open {
                        if under_way.insert(wish.id.clone()) {
                            tasks.spawn(Arc::clone(&self).grant(wish));
                        }
                    }
                }
                // What reads and writes the snapshot tells of an outage.
                Err(error) => {
                    tracing::debug!(%error, "no look at other replicas' wishes");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn grant(self: Arc<Self>, wish: KeyWish) -> String {
        let outcome = self.ask_here(&wish.issuer, &wish.key_id).await;
        let revision = self.store.hub().revision();
        if let Err(error) = self.store.grant_wish(wish.id.clone(), outcome.as_str(), revision).await {
            tracing::debug!(issuer = wish.issuer, %error, "another replica cannot be told what its wish has brought");
        }
        wish.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_reads_as_it_was_written() {
        use RefreshOutcome::{Failed, Published, TooSoon, Unknown};
        for outcome in [Published, TooSoon, Unknown, Failed] {
            assert_eq!(RefreshOutcome::read(outcome.as_str()), outcome);
        }
        assert_eq!(RefreshOutcome::read("else"), Failed);
    }
}
