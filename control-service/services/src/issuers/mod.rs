//! Issuers' keys: fetched regularly and when a filter misses one, each issuer by itself, the last good set
//! kept.

mod document;
mod fetch;
mod health;
mod learn;
mod report;
mod told;
mod watch;
mod wishes;
mod word;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_control_config::Policy;
use portcullis_control_domain::clock::{millis, now_ms};
use portcullis_control_domain::issuer::{KeyState, StoredKeys};
use portcullis_control_domain::random::random_number;
use portcullis_control_domain::retry::PAUSES;
use portcullis_control_store::{Store, StoreError, Term};
use portcullis_model::outage::Outage;
use portcullis_model::pace::{KeyRefreshAdmission, TokenBucket};
use portcullis_model::policy::IssuerDocument;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::causes::causes;
use crate::metrics::Metrics;
use document::{CurrentKeys, document};
pub use document::{document_with_fetch, document_without_fetch};
pub use fetch::FetchError;
use fetch::Fetcher;
use watch::{Ended, FetchState, Handover, Watch};
use word::Word;

/// How often the age of an issuer's keys is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Fetches by filters' wishes over all issuers: so many at once, then one in so many milliseconds. Far more
/// than a few issuers may be asked for, so that those whose keys are made up do not hold up the others.
const ALL_BURST: u32 = 60;
const ALL_EVERY_MS: u64 = 250;

/// Wishes of one replica's filters that the leader is asked for at a time.
const MAX_WISHES: usize = 64;

/// What became of a wish for an issuer's newest keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// They are published.
    Published,
    /// The issuer was asked too recently.
    TooSoon,
    /// There is no such issuer, or its keys are not fetched.
    Unknown,
    /// The issuer could not be reached, or its answer could not be used.
    Failed,
}

struct KnownIssuers {
    policy: Option<Policy>,
    /// The service's own issuer of service tokens.
    own: Option<IssuerDocument>,
    keys: HashMap<String, StoredKeys>,
    watches: HashMap<String, Arc<Watch>>,
    tasks: JoinSet<()>,
}

impl KnownIssuers {
    /// The keys of a configured issuer.
    fn keys_of(&self, issuer: &str) -> Option<CurrentKeys> {
        let mut issuers = self.policy.iter().flat_map(|policy| &policy.issuers);
        let config = issuers.find(|config| config.issuer.as_str() == issuer)?;
        Some(CurrentKeys::of(config, &self.keys, now_ms()))
    }
}

/// The issuers of the current policy.
pub struct Issuers {
    store: Store,
    metrics: Arc<Metrics>,
    known: Mutex<KnownIssuers>,
    /// The wishes of all issuers together.
    pace: Mutex<TokenBucket>,
    started: Instant,
    /// Something that other replicas are told.
    news: Notify,
    /// Wishes for the leader that are under way.
    wishes: Semaphore,
}

impl Issuers {
    /// Begins with the keys that were kept from earlier fetches.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn new(store: Store, metrics: Arc<Metrics>) -> Result<Arc<Self>, StoreError> {
        let kept = store.kept_keys().await?;
        let keys = kept.into_iter().map(|keys| (keys.issuer.clone(), keys)).collect();
        let (watches, tasks) = (HashMap::new(), JoinSet::new());
        let known = Mutex::new(KnownIssuers { policy: None, own: None, keys, watches, tasks });
        let pace = Mutex::new(TokenBucket::new(ALL_BURST, ALL_EVERY_MS));
        let (news, wishes, started) = (Notify::new(), Semaphore::new(MAX_WISHES), Instant::now());
        Ok(Arc::new(Self { store, metrics, known, pace, started, news, wishes }))
    }

    /// Makes a policy the current one. Who leads publishes it with the keys at hand, and begins to fetch.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be published.
    pub async fn apply(self: &Arc<Self>, policy: &Policy) -> Result<(), StoreError> {
        for warning in policy.warnings() {
            tracing::warn!("{warning}");
        }
        let begins = self.known.lock().await.policy.is_none();
        // Whoever led before may have asked an issuer a moment ago.
        let word = if begins && self.store.is_shared() { self.last_word().await } else { None };
        self.take_over(policy, word.unwrap_or_default(), begins).await
    }

    /// Publishes the current policy anew, with the keys that were fetched last by whichever replica, and goes on to
    /// fetch where that one was: this one leads now.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be published.
    pub async fn lead(self: &Arc<Self>) -> Result<(), StoreError> {
        let kept = self.store.kept_keys().await?;
        let policy = {
            let mut known = self.known.lock().await;
            known.keys = kept.into_iter().map(|keys| (keys.issuer.clone(), keys)).collect();
            known.policy.clone()
        };
        match policy {
            Some(policy) => {
                let word = self.last_word().await.unwrap_or_default();
                self.take_over(&policy, word, true).await
            }
            None => Ok(()),
        }
    }

    /// Fetches no more: another replica leads.
    pub async fn rest(&self) {
        self.known.lock().await.tasks = JoinSet::new();
    }

    /// `begins`: with this it begins to lead, if it does.
    async fn take_over(
        self: &Arc<Self>,
        policy: &Policy,
        word: Word,
        begins: bool,
    ) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        let term = self.store.term();
        // Of the very first leader there is none before it.
        let follows = |term: &Term| begins && self.store.is_shared() && term.epoch() > 1;
        let handover = term.as_ref().filter(|term| follows(term)).map(|_| self.handover());
        if let Some(Handover { since_start_ms, .. }) = handover {
            *self.pace.lock().await = TokenBucket::emptied(ALL_BURST, ALL_EVERY_MS, 0, since_start_ms);
        }
        if let Some(term) = term {
            self.store.set_policy(term, policy.entries()?).await?;
        }
        known.policy = Some(policy.clone());
        self.publish(&known).await?;
        // Dropping the old set ends its tasks.
        known.tasks = JoinSet::new();
        known.watches.clear();
        for issuer in &policy.issuers {
            match Fetcher::new(issuer) {
                Ok(None) => {}
                Ok(Some(fetcher)) => {
                    let from = word.resume.get(issuer.issuer.as_str());
                    let from = from.filter(|from| from.source == fetcher.url().as_str());
                    let kept = known.keys.get(issuer.issuer.as_str());
                    let kept = kept.filter(|kept| kept.source == fetcher.url().as_str());
                    let watch = Arc::new(Watch::new(issuer, fetcher, kept, from, handover));
                    known.watches.insert(watch.issuer.clone(), Arc::clone(&watch));
                    if term.is_some() {
                        let next = from.map_or(Duration::ZERO, |from| from.next(policy.jwks_refresh));
                        known.tasks.spawn(Arc::clone(self).expire(Arc::clone(&watch)));
                        known.tasks.spawn(Arc::clone(self).refresh(watch, policy.jwks_refresh, next));
                    }
                }
                Err(error) => {
                    tracing::error!(issuer = %issuer.issuer, error = causes(&error), "keys cannot be fetched")
                }
            }
        }
        if let Some(term) = term.filter(|_| self.store.is_shared()) {
            known.tasks.spawn(Arc::clone(self).tell(term));
            known.tasks.spawn(Arc::clone(self).serve_wishes());
        }
        Ok(())
    }

    fn handover(&self) -> Handover {
        Handover { now_ms: now_ms(), since_start_ms: millis(self.started.elapsed()) }
    }

    /// Publishes the service's own issuer beside the configured ones.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be published.
    pub async fn set_service_issuer(&self, document: IssuerDocument) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        known.own = Some(document);
        if known.policy.is_some() { self.publish(&known).await } else { Ok(()) }
    }

    /// Fetches an issuer's keys because a filter met a token whose key it has not, or, with an empty `key_id`, one that
    /// no key fitted.
    pub async fn ask(&self, issuer: &str, key_id: &str) -> RefreshOutcome {
        // Whoever leads fetches, and publishes what that brings.
        match self.store.term() {
            Some(_) => self.ask_here(issuer, key_id).await,
            None => self.ask_leader(issuer, key_id).await,
        }
    }

    async fn ask_here(&self, issuer: &str, key_id: &str) -> RefreshOutcome {
        let Some(watch) = self.known.lock().await.watches.get(issuer).map(Arc::clone) else {
            return RefreshOutcome::Unknown;
        };
        let mut fetch_state = watch.fetch_state.lock().await;
        let now_ms = millis(self.started.elapsed());
        if fetch_state.not_before.is_some_and(|at| Instant::now() < at) {
            return RefreshOutcome::TooSoon;
        }
        if key_id.is_empty() {
            return match fetch_state.doubts.admit(now_ms) {
                true => self.fetch_for_filter(&watch, &mut fetch_state).await,
                false => RefreshOutcome::TooSoon,
            };
        }
        // Perhaps a fetch that this wish waited for has brought it.
        if self.has(issuer, key_id).await {
            return RefreshOutcome::Published;
        }
        match fetch_state.refresh_limiter.admit(key_id, now_ms) {
            KeyRefreshAdmission::Granted if self.pace.lock().await.take(now_ms) => {}
            // What asked for the same key just before had no luck.
            KeyRefreshAdmission::Duplicate if fetch_state.failed => return RefreshOutcome::Failed,
            KeyRefreshAdmission::Granted | KeyRefreshAdmission::Duplicate | KeyRefreshAdmission::Limited => {
                return RefreshOutcome::TooSoon;
            }
        }
        self.fetch_for_filter(&watch, &mut fetch_state).await
    }

    async fn fetch_for_filter(&self, watch: &Watch, fetch_state: &mut FetchState) -> RefreshOutcome {
        match self.fetch(watch, fetch_state).await {
            Ended::Good => RefreshOutcome::Published,
            Ended::NotTaken | Ended::Failed(_) => RefreshOutcome::Failed,
        }
    }

    async fn has(&self, issuer: &str, key_id: &str) -> bool {
        let keys = self.known.lock().await.keys_of(issuer);
        keys.is_some_and(|keys| keys.set.used.keys.iter().any(|key| key.kid.as_deref() == Some(key_id)))
    }

    /// Ends all fetching.
    pub async fn stop(&self) {
        self.known.lock().await.tasks.shutdown().await;
    }

    /// Publishes the issuers with the keys at hand, if this replica leads: what counts is the leader's configuration.
    async fn publish(&self, known: &KnownIssuers) -> Result<(), StoreError> {
        let Some(term) = self.store.term() else { return Ok(()) };
        let issuers = known.policy.iter().flat_map(|p| &p.issuers);
        let now = now_ms();
        let documents = issuers.map(|issuer| document(issuer, CurrentKeys::of(issuer, &known.keys, now)));
        let documents: Vec<_> = documents.chain(known.own.clone()).collect();
        self.store.set_issuers(term, &documents).await
    }

    async fn refresh(self: Arc<Self>, watch: Arc<Watch>, every: Duration, next: Duration) {
        tokio::time::sleep(next).await;
        loop {
            let mut fetch_state = watch.fetch_state.lock().await;
            let pause = match self.fetch(&watch, &mut fetch_state).await {
                Ended::Good => every,
                // That is no fault of the issuer's.
                Ended::NotTaken => PAUSES.0.min(every),
                Ended::Failed(asked) => {
                    let state = watch.health.get().state(now_ms());
                    let refused = matches!(state, KeyState::Missing | KeyState::Expired);
                    let longest = if refused { PAUSES.1 } else { every.max(PAUSES.1) };
                    fetch_state.backoff.failed(longest, asked, random_number())
                }
            };
            let next_at_ms = now_ms().saturating_add(millis(pause));
            watch.health.goes_on(fetch_state.backoff.failures(), next_at_ms);
            drop(fetch_state);
            self.news.notify_one();
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes an issuer's keys out of use when it has not confirmed them for too long. What a good fetch
    /// brings puts them back. Apart from the fetches, one of which may hang just then.
    async fn expire(self: Arc<Self>, watch: Arc<Watch>) {
        let (mut told, mut outage) = (false, Outage::default());
        loop {
            let expired = watch.health.get().state(now_ms()) == KeyState::Expired;
            if expired && !told {
                match self.publish(&*self.known.lock().await).await {
                    Ok(()) => {
                        outage.over();
                        tracing::error!(issuer = %watch.issuer,
                            "keys are older than maxStaleSeconds: every token of this issuer is refused");
                    }
                    Err(error) => {
                        if outage.failed(&error.to_string(), || true) {
                            tracing::error!(issuer = %watch.issuer, %error, "expired keys are still published");
                        }
                        tokio::time::sleep(LOOK).await;
                        continue;
                    }
                }
            }
            told = expired;
            tokio::time::sleep(LOOK).await;
        }
    }
}
