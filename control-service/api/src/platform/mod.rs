//! The platform API.

mod admins;
mod audit;
mod behind_gateway;
mod callers;
mod clients;
mod clusters;
mod configuration;
mod described;
mod enrolment;
mod guard;
mod issuers;
mod keys;
mod oauth;
mod openapi;
mod revocations;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;

use crate::PlatformState;
use behind_gateway::client_of_gateway;
use guard::Routes;

/// Bytes of a body at most.
const MAX_BODY: usize = 64 * 1024;

pub(crate) fn routes(state: &PlatformState) -> Router<PlatformState> {
    let parts = [
        callers::routes,
        clusters::routes,
        watch::routes,
        enrolment::routes,
        keys::routes,
        clients::routes,
        revocations::routes,
        audit::routes,
        issuers::routes,
        configuration::routes,
        admins::routes,
        oauth::routes,
        openapi::routes,
    ];
    let routes =
        parts.into_iter().fold(Routes::new(state), |routes, part: fn(Routes) -> Routes| part(routes));
    let gateways = from_fn_with_state(Arc::clone(&state.principals), client_of_gateway);
    routes.into_router().layer(gateways).layer(DefaultBodyLimit::max(MAX_BODY))
}
