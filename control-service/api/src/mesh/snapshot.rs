//! Polls of the snapshot.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::Response;
use portcullis_control_config::Principals;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_services::Current;
use portcullis_control_services::metrics::Metrics;
use portcullis_control_services::rollout::Rollout;
use portcullis_control_snapshot::{Ask, Poll, PollReport, UnknownView, View};
use portcullis_control_store::{Store, StoreError};
use portcullis_identity::ids::SpiffeId;
use portcullis_protocol::audit::unhex;
use portcullis_protocol::snapshot::NONCE_LEN;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::extract::{Parameters, protobuf};
use crate::{Problem, ProblemKind, Stopping};

/// Where it is polled.
pub(super) const PATH: &str = "/mesh/v1/snapshot";

/// `staleAfterSeconds` of a plugin that does not tell it, and the greatest one that there is.
const USUAL_STALE_S: u64 = 300;
const MAX_STALE_S: u64 = 86_400;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct PollQuery {
    view: String,
    generation: String,
    revision: u64,
    cursor: String,
    nonce: String,
    wait: u64,
    worker: String,
    proxy: String,
    stale: u64,
}

fn malformed(name: &str, problem: &str) -> Problem {
    Problem::new(ProblemKind::PollInvalid, [name, ": ", problem].concat())
}

impl PollQuery {
    /// For how long the worker serves without a poll that comes to an end.
    fn stale_after(&self) -> Duration {
        Duration::from_secs(if self.stale == 0 { USUAL_STALE_S } else { self.stale.min(MAX_STALE_S) })
    }

    fn check(&self) -> Result<Poll, Problem> {
        let view: View = self.view.parse().map_err(|e: UnknownView| malformed("view", &e.to_string()))?;
        let bytes = |name, text: &str, max: usize| {
            let read = unhex(text).filter(|b| b.len() <= max);
            read.ok_or_else(|| malformed(name, "must be hexadecimal and not longer than a page said"))
        };
        let nonce = bytes("nonce", &self.nonce, NONCE_LEN)?;
        if nonce.len() != NONCE_LEN {
            return Err(malformed("nonce", "must be 16 bytes in hexadecimal"));
        }
        let worker = unhex(&self.worker).is_some_and(|w| (1..=32).contains(&w.len()));
        if !worker || self.proxy.len() > 256 || self.wait > 60 {
            return Err(malformed(
                "worker, proxy, wait",
                "must be up to 32 bytes in hexadecimal, up to 256 characters, up to 60 seconds",
            ));
        }
        let generation = bytes("generation", &self.generation, 16)?;
        let cursor = bytes("cursor", &self.cursor, 1024)?;
        let ask = Ask { view, generation, revision: self.revision, cursor };
        Ok(Poll { ask, nonce, wait: Duration::from_secs(self.wait) })
    }
}

pub(super) async fn snapshot(
    State(store): State<Store>,
    State(rollout): State<Arc<Rollout>>,
    State(principals): State<Arc<Current<Principals>>>,
    State(metrics): State<Arc<Metrics>>,
    State(Stopping(stopping)): State<Stopping>,
    Extension(principal): Extension<SpiffeId>,
    Parameters(query): Parameters<PollQuery>,
) -> Result<Response, Problem> {
    let poll = query.check()?;
    if !principals.get().may_read(&principal, &poll.ask.view) {
        let detail = [principal.as_str(), " may not read view ", &query.view].concat();
        return Err(Problem::new(ProblemKind::ViewForbidden, detail));
    }
    if store.recovery().is_some() && poll.ask.view == View::Gateway {
        // Sidecars stand at customers: what they claim to hold is no evidence.
        store.note_held(&poll.ask.generation, poll.ask.revision).await?;
    }
    store.check_fresh()?;
    let hub = store.hub();
    let known = poll.ask.generation == hub.generation() && poll.ask.cursor.is_empty();
    let acknowledged = known.then_some(poll.ask.revision);
    let report = PollReport { proxy: &query.proxy, acknowledged, stale_after: query.stale_after() };
    let is_new = poll.ask.generation.is_empty();
    let polling = rollout.polls(&principal, &query.worker, &poll.ask.view, report, is_new).await?;
    let page = hub.poll(poll, stopping, now_ms).await;
    drop(polling);
    let page = page.map_err(StoreError::from)?;
    metrics.polls.add(1);
    metrics.page_bytes.add(u64::try_from(page.len()).unwrap_or(u64::MAX));
    Ok(protobuf(page))
}
