//! How long calls take.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use portcullis_control_services::metrics::Metrics;

/// A call, and where its times are counted.
#[derive(Clone)]
pub(crate) struct Timed {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) call: &'static str,
}

/// Measures a call from its head to the head of its answer.
pub(crate) async fn timed(
    State(Timed { metrics, call }): State<Timed>,
    request: Request,
    next: Next,
) -> Response {
    let since = Instant::now();
    let response = next.run(request).await;
    metrics.call(call, response.status().as_u16(), since.elapsed());
    response
}
