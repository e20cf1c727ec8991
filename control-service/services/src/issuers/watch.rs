//! What is remembered of the fetches of one issuer's keys.

use std::time::Duration;

use portcullis_authn::jwk::LeftOut;
use portcullis_control_config::IssuerConfig;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::issuer::StoredKeys;
use portcullis_control_domain::retry::{Backoff, LONGEST_ASKED};
use portcullis_model::outage::Outage;
use portcullis_model::pace::{DoubtLimiter, KeyRefreshLimiter};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fetch::Fetcher;
use super::health::Watched;
use super::word::Resume;

/// The fetches of one issuer.
pub(super) struct Watch {
    pub(super) issuer: String,
    pub(super) fetcher: Fetcher,
    pub(super) health: Watched,
    /// Held while a fetch is under way, so that there is one at a time.
    pub(super) fetch_state: Mutex<FetchState>,
}

#[derive(Default)]
pub(super) struct FetchState {
    /// Whether the last fetch failed.
    pub(super) failed: bool,
    pub(super) backoff: Backoff,
    pub(super) outage: Outage,
    /// Until when the issuer wants not to be asked, by anybody.
    pub(super) not_before: Option<Instant>,
    /// Filters' wishes that were carried out.
    pub(super) refresh_limiter: KeyRefreshLimiter,
    /// Those of them that bad signatures led to.
    pub(super) doubts: DoubtLimiter,
    /// The keys that the log has called unused.
    pub(super) told: Vec<LeftOut>,
}

/// What another replica may have asked before this one goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handover {
    /// The times by the two clocks that count.
    pub(super) now_ms: u64,
    pub(super) since_start_ms: u64,
}

impl FetchState {
    /// Filters' wishes go on at what may be left of them: nobody knows of each what the replica before has granted, but
    /// when it asked the issuer last. Where not even that is known, it may have been just now.
    fn continues(&mut self, last_ms: u64, handover: Handover) {
        let Handover { now_ms, since_start_ms } = handover;
        let ago_ms = if last_ms == 0 { 0 } else { now_ms.saturating_sub(last_ms) };
        self.refresh_limiter = KeyRefreshLimiter::asked(ago_ms, since_start_ms);
        self.doubts = DoubtLimiter::asked(ago_ms, since_start_ms);
    }

    /// Goes on where another replica was.
    pub(super) fn resumed(from: &Resume, now_ms: u64) -> Self {
        let rest = Duration::from_millis(from.not_before_ms.saturating_sub(now_ms)).min(LONGEST_ASKED);
        Self {
            failed: from.failures > 0,
            backoff: Backoff::after(from.failures),
            not_before: (!rest.is_zero()).then(|| Instant::now() + rest),
            ..Self::default()
        }
    }
}

/// How a fetch ended.
pub(super) enum Ended {
    /// The newest keys are published.
    Good,
    /// There was an answer, and it could not be published, or is not the current source's.
    NotTaken,
    /// There was none that could be used; how long the issuer wants not to be asked.
    Failed(Option<Duration>),
}

impl Watch {
    /// Begins with what was fetched last from this source, and where another replica was with it.
    pub(super) fn new(
        issuer: &IssuerConfig,
        fetcher: Fetcher,
        kept: Option<&StoredKeys>,
        from: Option<&Resume>,
        handover: Option<Handover>,
    ) -> Self {
        let fetched_at_ms = kept.map_or(0, |kept| kept.fetched_at_ms);
        let health = Watched::since(fetched_at_ms, issuer.max_stale);
        from.inspect(|from| health.resumed(from));
        let mut fetch_state = from.map(|from| FetchState::resumed(from, now_ms())).unwrap_or_default();
        if let Some(handover) = handover {
            fetch_state.continues(fetched_at_ms.max(health.get().asked_at_ms), handover);
        }
        Self { issuer: issuer.issuer.to_string(), fetcher, health, fetch_state: Mutex::new(fetch_state) }
    }

    /// Where another replica goes on.
    pub(super) fn resume(&self) -> Resume {
        let health = self.health.get();
        Resume {
            source: self.fetcher.url().to_string(),
            failures: health.failures,
            not_before_ms: health.not_before_ms,
            asked_at_ms: health.asked_at_ms,
            next_at_ms: health.next_at_ms,
            fetched: health.fetched,
            failed: health.failed,
            last_error: health.last_error,
        }
    }

    /// A fetch was good after others were not.
    pub(super) fn is_fresh(&self, fetch_state: &mut FetchState) {
        fetch_state.backoff.good();
        fetch_state.not_before = None;
        if let Some(failures) = fetch_state.outage.over() {
            tracing::info!(issuer = %self.issuer, failures, "keys are fresh again");
        }
    }
}

/// Says once which keys of an issuer are not used; those that are for something else are no reason to warn.
pub(super) fn tell(issuer: &str, left_out: Vec<LeftOut>, told: &mut Vec<LeftOut>) {
    /// Keys that one line names at most.
    const MOST: usize = 20;
    if left_out == *told {
        return;
    }
    let named: Vec<String> = left_out.iter().take(MOST).map(ToString::to_string).collect();
    let (keys, more) = (named.join("; "), left_out.len().saturating_sub(MOST));
    match (left_out.is_empty(), left_out.iter().all(LeftOut::is_meant)) {
        (true, _) => tracing::info!(issuer, "every key of the issuer is used"),
        (false, true) => tracing::info!(issuer, keys, more, "keys of the issuer that are not used"),
        (false, false) => tracing::warn!(issuer, keys, more, "keys of the issuer that are not used"),
    }
    *told = left_out;
}
