//! Health and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_control_domain::configuration::RunningConfiguration;
use portcullis_control_services::Current;
use portcullis_control_services::issuers::Issuers;
use portcullis_control_services::metrics::{Gauges, Metrics};
use portcullis_control_services::rollout::Rollout;
use portcullis_control_services::standing::{Agreement, Standing};
use portcullis_control_store::{Store, StoreError};

use crate::{OperationsState, Stopping};

pub(crate) fn routes() -> Router<OperationsState> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(
    State(store): State<Store>,
    State(standing): State<Arc<Current<Standing>>>,
    State(Stopping(stopping)): State<Stopping>,
) -> Response {
    let not_ready =
        |told: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {told}\n")).into_response();
    if !store.is_open() || *stopping.borrow() {
        return not_ready("the store is closed or the service is stopping");
    }
    // First of all: a replica that has not heard of its database is not the one to be looked at.
    if !store.is_up() {
        return not_ready("the database cannot be used; the service's log says why");
    }
    match store.check_fresh() {
        Ok(()) => {}
        Err(StoreError::Behind(_)) => {
            let silence = store.hub().freshness().age().as_secs();
            return not_ready(&format!(
                "the database has not answered this replica for {silence} s, so it may lack what is new"
            ));
        }
        Err(error) => return not_ready(&error.to_string()),
    }
    let standing = standing.get();
    if standing.configuration == Agreement::Unpublished {
        return not_ready("no replica has published its configuration yet");
    }
    (StatusCode::OK, ["ready\n", &among_others(&store, &standing)].concat()).into_response()
}

/// What a replica is among others; nothing where there can be none.
fn among_others(store: &Store, standing: &Standing) -> String {
    if !store.is_shared() {
        return String::new();
    }
    let (own, leader) = (store.replica().as_str(), &standing.leader);
    let who = match own == leader {
        true => format!("this is replica {own}, which leads\n"),
        false => format!("this is replica {own}; replica {leader} leads\n"),
    };
    match &standing.configuration {
        Agreement::Differs(parts) => {
            let parts = parts.join(", ");
            format!("{who}the leader's configuration counts; this replica has another one in: {parts}\n")
        }
        Agreement::Agrees | Agreement::Unpublished => who,
    }
}

async fn metrics(
    State(store): State<Store>,
    State(rollout): State<Arc<Rollout>>,
    State(metrics): State<Arc<Metrics>>,
    State(issuers): State<Arc<Issuers>>,
    State(configuration): State<Arc<Current<RunningConfiguration>>>,
) -> Response {
    let configuration = configuration.get();
    let revision = store.hub().revision();
    let workers = rollout.list_at_hand().await;
    let gauges = Gauges {
        revision,
        entries: store.hub().len(),
        workers: workers.len(),
        recovering: store.recovery().is_some(),
        current: workers.iter().filter(|w| w.revision >= revision).count(),
        store_up: store.is_up(),
        leads: store.term().is_some(),
        behind: store.hub().freshness().check().is_err(),
        confirmed_age: store.hub().freshness().age(),
        restart_pending: configuration.pending.len(),
        file_refused: !configuration.refused.is_empty(),
        commits: store.commit_times(),
    };
    let text = metrics.render(&gauges, &issuers.report().await);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
