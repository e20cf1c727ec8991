//! The HTTP APIs: mesh, platform, operations.

mod admins;
mod audit;
mod clients;
mod clusters;
mod extract;
mod issuers;
mod keys;
mod mesh;
mod oauth;
mod platform;
mod problem;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_control_config::Principals;
use portcullis_control_domain::log_throttle::LogThrottle;
use portcullis_control_services::Current;
use portcullis_control_services::introspection::Providers;
use portcullis_control_services::issuers::Issuers;
use portcullis_control_services::metrics::{Gauges, Metrics};
use portcullis_control_services::oauth::{Backoff, TokenEndpoint};
use portcullis_control_services::presence::Presence;
use portcullis_control_services::shares::Shares;
use portcullis_control_services::signing::SigningKeys;
use portcullis_control_snapshot::Workers;
use portcullis_control_store::Store;
use tokio::sync::watch;
use zeroize::Zeroizing;

pub(crate) use keys::MAX_LIFE_S;
pub use problem::{Problem, ProblemKind};

/// What the handlers share.
pub struct Service {
    /// Everything durable, and the snapshot.
    pub store: Store,
    /// Which worker has which revision.
    pub workers: Arc<Workers>,
    /// Heartbeats.
    pub presence: Presence,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// SHA-256 of the mesh token.
    pub mesh_token_digest: [u8; 32],
    /// Key of the API-key digests.
    pub pepper: Zeroizing<[u8; 32]>,
    /// Issuers and their keys.
    pub issuers: Arc<Issuers>,
    /// Keys that sign tokens.
    pub signing: Arc<SigningKeys>,
    /// Providers of opaque tokens.
    pub providers: Arc<Current<Providers>>,
    /// The token endpoint.
    pub tokens: TokenEndpoint,
    /// Pauses for addresses from which calls come without an administrator's token.
    pub refused_callers: Arc<Backoff>,
    /// Which provider of opaque tokens may be complained of.
    pub complaints: LogThrottle,
    /// What sidecars hold of the mesh API.
    pub shares: Shares,
    /// Turns true when the service ends.
    pub stopping: watch::Receiver<bool>,
    /// Who may read which view.
    pub principals: Current<Principals>,
}

/// The mesh API.
pub fn mesh(service: &Arc<Service>) -> Router {
    finish(mesh::routes(service), service, "mesh")
}

/// The platform API.
pub fn platform(service: &Arc<Service>) -> Router {
    finish(platform::routes(service), service, "platform")
}

/// Health and metrics.
pub fn operations(service: &Arc<Service>) -> Router {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    finish(routes, service, "operations")
}

fn finish(routes: Router<Arc<Service>>, service: &Arc<Service>, listener: &'static str) -> Router {
    let counted = Arc::clone(service);
    routes
        .fallback(|| async { Problem::new(ProblemKind::NotFound, "see the API description for the paths") })
        .method_not_allowed_fallback(|| async {
            Problem::new(ProblemKind::MethodNotAllowed, "see the API description for the methods")
        })
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let counted = Arc::clone(&counted);
            async move {
                let response = next.run(request).await;
                counted.metrics.request(listener, response.status().as_u16());
                response
            }
        }))
        .with_state(Arc::clone(service))
}

async fn ready(State(service): State<Arc<Service>>) -> Response {
    if service.store.is_open() && !*service.stopping.borrow() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the store is closed or the service is stopping\n")
            .into_response()
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let revision = service.store.hub().revision();
    let workers = service.workers.list();
    let gauges = Gauges {
        revision,
        entries: service.store.hub().len(),
        workers: workers.len(),
        current: workers.iter().filter(|w| w.revision >= revision).count(),
    };
    let text = service.metrics.render(gauges, &service.issuers.report().await);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
