//! The configuration in use.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use portcullis_control_contract::configuration::RunningConfiguration;
use portcullis_control_services::Current;

use crate::PlatformState;

pub(super) fn routes() -> Router<PlatformState> {
    Router::new().route("/v1/configuration", get(in_use))
}

async fn in_use(
    State(configuration): State<Arc<Current<RunningConfiguration>>>,
) -> Json<RunningConfiguration> {
    Json((*configuration.get()).clone())
}
