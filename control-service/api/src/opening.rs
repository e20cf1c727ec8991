//! What the listeners answer until the service has its database: that the process lives, and what it waits for.

use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use portcullis_control_domain::clock::{now_ms, rfc3339};
use portcullis_control_services::metrics::Metrics;
use tokio::sync::watch;

use crate::{Problem, ProblemKind};

/// How it stands with a database that is being opened.
#[derive(Debug, Clone)]
pub struct Opening {
    since: Instant,
    since_ms: u64,
    why: Option<String>,
}

impl Default for Opening {
    /// It begins now.
    fn default() -> Self {
        Self { since: Instant::now(), since_ms: now_ms(), why: None }
    }
}

impl Opening {
    /// For how long it has been going on.
    #[must_use]
    pub fn age(&self) -> std::time::Duration {
        self.since.elapsed()
    }

    /// The database is away, and this is what was found out about it.
    pub fn waits_because(&mut self, why: String) {
        self.why = Some(why);
    }

    fn told(&self) -> String {
        let (since, age) = (rfc3339(self.since_ms), self.age().as_secs());
        match &self.why {
            None => format!("the database is being opened since {since} ({age} s)"),
            Some(why) => format!("waiting for the database since {since} ({age} s): {why}"),
        }
    }
}

/// The mesh API and the platform API of such a service.
pub fn closed() -> Router {
    Router::new().fallback(|| async {
        Problem::new(
            ProblemKind::StoreUnavailable,
            "the service has just begun and has no database yet; its readiness says more",
        )
    })
}

/// Its health and metrics.
pub fn waiting(opening: watch::Receiver<Opening>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(not_ready))
        .route(
            "/metrics",
            get(|| async {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], Metrics::without_a_database())
            }),
        )
        .fallback(|| async { Problem::new(ProblemKind::NotFound, "see the API description for the paths") })
        .with_state(opening)
}

async fn not_ready(State(opening): State<watch::Receiver<Opening>>) -> impl IntoResponse {
    let told = opening.borrow().told();
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {told}\n"))
}
