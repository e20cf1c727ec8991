//! What is remembered of the fetches of one issuer's keys.

use std::time::Duration;

use portcullis_authn::jwk::LeftOut;
use portcullis_model::outage::Outage;
use portcullis_model::pace::{DoubtLimiter, KeyRefreshLimiter};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fetch::Fetcher;
use super::health::Watched;
use crate::retry::Backoff;

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
