//! Fetching an issuer's keys once, and taking over what that brings.

use std::sync::Arc;

use portcullis_authn::jwk::LeftOut;
use portcullis_control_domain::clock::{millis, now_ms};
use portcullis_control_domain::issuer::{KeyState, StoredKeys};
use portcullis_control_domain::retry::LONGEST_ASKED;
use portcullis_control_store::StoreError;
use tokio::time::Instant;

use super::Issuers;
use super::document::{all_left_out, are_same};
use super::fetch::Fetched;
use super::watch::{Ended, FetchState, Watch, tell};
use crate::causes::causes;

impl Issuers {
    /// Fetches once and publishes what is new.
    pub(super) async fn fetch(&self, watch: &Watch, fetch_state: &mut FetchState) -> Ended {
        let issuer = &watch.issuer;
        watch.health.asked(now_ms());
        self.news.notify_one();
        let ended = match watch.fetcher.fetch().await {
            Ok(fetched) => match self.learned(watch, fetched, &mut fetch_state.told).await {
                Ok(false) => {
                    tracing::info!(%issuer, "an answer came after its source was replaced and is not used");
                    Ended::NotTaken
                }
                Ok(true) => {
                    self.metrics.jwks_fetched.add(1);
                    watch.is_fresh(fetch_state);
                    Ended::Good
                }
                Err(error) => {
                    if fetch_state.outage.failed(&error.to_string(), || true) {
                        tracing::error!(%issuer, %error, "keys could not be stored");
                    }
                    Ended::NotTaken
                }
            },
            Err(error) => {
                self.metrics.jwks_failed.add(1);
                let asked = error.retry_after();
                let rest = asked.map(|asked| asked.min(LONGEST_ASKED));
                fetch_state.not_before = rest.map(|rest| Instant::now() + rest);
                watch.health.rests(rest.map_or(0, |rest| now_ms().saturating_add(millis(rest))));
                let error = causes(&error);
                watch.health.bad(error.clone());
                if fetch_state.outage.failed(&error, || true) {
                    let url = watch.fetcher.url();
                    match watch.health.get().fetched_at_ms {
                        0 => tracing::warn!(%issuer, %url, error,
                            "keys could not be fetched; every token of this issuer is refused until they are"),
                        _ => tracing::warn!(%issuer, %url, error,
                            "keys could not be fetched; keys are stale from now on, the last good ones stay in use"),
                    }
                }
                Ended::Failed(asked)
            }
        };
        fetch_state.failed = !matches!(ended, Ended::Good);
        self.news.notify_one();
        ended
    }

    /// Takes over what was fetched; false when a reload has replaced the source meanwhile.
    async fn learned(
        &self,
        watch: &Watch,
        fetched: Fetched,
        told: &mut Vec<LeftOut>,
    ) -> Result<bool, StoreError> {
        let (issuer, source) = (watch.issuer.clone(), watch.fetcher.url().to_string());
        let mut keys = StoredKeys { issuer, source, jwks: fetched.jwks, fetched_at_ms: now_ms() };
        let mut known = self.known.lock().await;
        // What a filter wished for goes on when a reload ends the tasks: the old source must not have the last
        // word.
        let current = known.watches.get(&watch.issuer);
        if !current.is_some_and(|current| std::ptr::eq(Arc::as_ptr(current), watch)) {
            return Ok(false);
        }
        let before = known.keys.get(&keys.issuer).cloned();
        let same = before.as_ref().filter(|b| b.source == keys.source && are_same(&b.jwks, &keys.jwks));
        let changed = same.is_none();
        if let Some(same) = same {
            keys.jwks.clone_from(&same.jwks);
        }
        // Keys that had expired are published again, whether or not they changed.
        let expired = watch.health.get().state(now_ms()) == KeyState::Expired;
        self.store.keep_keys(keys.clone(), changed).await?;
        known.keys.insert(watch.issuer.clone(), keys);
        if (changed || expired)
            && let Err(error) = self.publish(&known).await
        {
            // What is not published is not known: the next fetch has to try again.
            match before {
                Some(before) => known.keys.insert(watch.issuer.clone(), before),
                None => known.keys.remove(&watch.issuer),
            };
            return Err(error);
        }
        let set = known.keys_of(&watch.issuer).map(|keys| keys.set).unwrap_or_default();
        match (changed, set.used.keys.len()) {
            (true, 0) => tracing::error!(issuer = %watch.issuer,
                "the issuer publishes no usable key: every token of it is refused"),
            (true, count) => tracing::info!(issuer = %watch.issuer, keys = count, "new keys"),
            (false, _) => {}
        }
        tell(&watch.issuer, all_left_out(fetched.unread.clone(), set.left_out), told);
        watch.health.good(now_ms(), fetched.unread);
        Ok(true)
    }
}
