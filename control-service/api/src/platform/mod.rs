//! The platform API.

mod admins;
mod audit;
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

use axum::Router;
use axum::extract::DefaultBodyLimit;

use crate::PlatformState;
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
    routes.into_router().layer(DefaultBodyLimit::max(MAX_BODY))
}
