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
use portcullis_control_services::standing::Standing;
use portcullis_control_store::Store;

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
    if let Err(error) = store.check_fresh() {
        return not_ready(&error.to_string());
    }
    if !store.is_up() {
        return not_ready("the database cannot be used; the service's log says why");
    }
    match &*standing.get() {
        Standing::Unpublished => not_ready("no replica has published its configuration yet"),
        Standing::Agrees => (StatusCode::OK, "ready\n").into_response(),
        Standing::Differs { own, leaders } => {
            let told =
                format!("ready\nthe leader's configuration counts, {leaders}; this replica's is {own}\n");
            (StatusCode::OK, told).into_response()
        }
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
