//! How issuers are doing, as the leader tells it to the others: they show the same, and whoever leads next goes on where
//! it was, so that no issuer is asked earlier for a change of leaders.

use std::sync::Arc;
use std::time::Duration;

use portcullis_control_domain::issuer::IssuerReport;
use portcullis_control_store::Term;

use super::Issuers;
use super::word::Word;

/// What is the same is told again so often: a server that crashes forgets it.
const AGAIN: Duration = Duration::from_secs(30);
/// Changes that come together are told together.
const GROUP: Duration = Duration::from_millis(100);

impl Issuers {
    /// What the leader has told last, if it is another replica.
    pub(super) async fn heard(&self) -> Option<Word> {
        if self.store.term().is_some() {
            return None;
        }
        self.last_word().await
    }

    /// What whoever led has told last.
    pub(super) async fn last_word(&self) -> Option<Word> {
        match self.store.leaders_word().await {
            Ok(word) => serde_json::from_str(&word?).ok(),
            // Each call that asks comes here; what reads and writes the snapshot tells of an outage.
            Err(error) => {
                tracing::debug!(%error, "what the leader knows of issuers cannot be read");
                None
            }
        }
    }

    /// Tells the others how issuers are doing, as the leader, until it is dropped.
    pub(super) async fn tell(self: Arc<Self>, term: Term) {
        let mut told = String::new();
        loop {
            match serde_json::to_string(&self.word().await) {
                Ok(word) if word != told => match self.store.tell_others(term, word.clone()).await {
                    Ok(()) => told = word,
                    Err(error) => {
                        tracing::debug!(%error, "other replicas are not told how issuers are doing")
                    }
                },
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "what is known of issuers cannot be written"),
            }
            if tokio::time::timeout(AGAIN, self.news.notified()).await.is_err() {
                told.clear();
            }
            tokio::time::sleep(GROUP).await;
        }
    }

    async fn word(&self) -> Word {
        let mut issuers = self.own_report().await;
        // It follows from when it was.
        issuers.iter_mut().for_each(|issuer| issuer.age_s = None);
        let left_out = self.own_left_out().await;
        let known = self.known.lock().await;
        let resume = known.watches.iter().map(|(name, watch)| (name.clone(), watch.resume()));
        Word { issuers, left_out, resume: resume.collect() }
    }
}

/// What was told before, in words that say how things are now.
pub(super) fn as_of(mut issuers: Vec<IssuerReport>, now_ms: u64) -> Vec<IssuerReport> {
    for issuer in &mut issuers {
        issuer.age_s = issuer.fetched_at_ms.map(|at| now_ms.saturating_sub(at) / 1000);
    }
    issuers
}
