//! The HTTP APIs: mesh, platform, agents, operations; and how their connections are taken.
//!
//! Each listener has a state of its own, with what its handlers use and nothing else; a handler asks for the parts that
//! it needs. What is asked and answered is in the contract, what is done about it in the services.

mod agents;
mod extract;
pub mod listen;
mod mesh;
mod openapi;
mod opening;
mod operations;
mod platform;
mod problem;
mod reading;
mod recovering;
mod refusal;
mod state;
mod timed;
pub mod xfcc;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use portcullis_control_services::metrics::Metrics;

pub use openapi::openapi;
pub use opening::{Opening, closed, waiting};
pub use problem::{Problem, ProblemKind};
pub use state::{
    AgentsState, MeshState, MeshToken, OperationsState, Pepper, PlatformState, Stopping, ToldToAgents,
};

/// The mesh API.
pub fn mesh(state: MeshState) -> Router {
    finish(mesh::routes(&state), Arc::clone(&state.metrics), "mesh").with_state(state)
}

/// The platform API.
pub fn platform(state: PlatformState) -> Router {
    finish(platform::routes(&state), Arc::clone(&state.metrics), "platform").with_state(state)
}

/// Agents of data clusters.
pub fn agents(state: AgentsState) -> Router {
    finish(agents::routes(&state), Arc::clone(&state.metrics), "agents").with_state(state)
}

/// Health and metrics.
pub fn operations(state: OperationsState) -> Router {
    finish(operations::routes(), Arc::clone(&state.metrics), "operations").with_state(state)
}

fn finish<S>(routes: Router<S>, metrics: Arc<Metrics>, listener: &'static str) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes
        .fallback(|| async { Problem::new(ProblemKind::NotFound, "see the API description for the paths") })
        .method_not_allowed_fallback(|| async {
            Problem::new(ProblemKind::MethodNotAllowed, "see the API description for the methods")
        })
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let metrics = Arc::clone(&metrics);
            async move {
                let response = next.run(request).await;
                metrics.request(listener, response.status().as_u16());
                response
            }
        }))
}
