//! The agent's health page and metrics, for probes of its own pod and whoever scrapes it there.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use portcullis_control_domain::clock::now_ms;
use tokio::net::TcpListener;

use super::life::Life;
use crate::tunnel::connected;

/// Answers until it is dropped.
pub(crate) async fn answer(listener: TcpListener, life: Arc<Life>) -> std::io::Result<()> {
    let pages = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/tunnelz", get(tunnel))
        .route("/metrics", get(metrics))
        .with_state(life);
    axum::serve(listener, pages).await
}

/// Whether all of it works.
async fn ready(State(life): State<Arc<Life>>) -> (StatusCode, String) {
    let troubles = life.status().troubles(now_ms());
    if troubles.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n")
    }
}

/// Whether the tunnel's Envoy answers, tunnel or not: for the probe of an Envoy that runs beside.
async fn tunnel(State(life): State<Arc<Life>>) -> (StatusCode, String) {
    match connected(life.options.wiring.admin).await {
        Ok(count) => (StatusCode::OK, format!("{count} connections\n")),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
    }
}

async fn metrics(State(life): State<Arc<Life>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], life.status().metrics())
}
