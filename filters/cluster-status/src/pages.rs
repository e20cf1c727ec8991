//! Which pages of other origins a cluster lets use cookies.

use portcullis_engine::exchange::request_state::RequestState;
use portcullis_identity::ClusterId;
use portcullis_model::config::PluginConfig;
use portcullis_model::state::SnapshotState;
use portcullis_model::{Reason, Refusal};

use crate::name::STAGE;

/// Checks that a cookie which a page of another origin made a browser send counts at this cluster. A preflight
/// cannot tell: it is answered alike for all clusters.
pub(crate) fn check(
    exchange: &RequestState,
    cluster: &ClusterId,
    config: &PluginConfig,
    snapshot: &SnapshotState,
) -> Result<(), Refusal> {
    let Some(origin) = &exchange.sent_by_page else { return Ok(()) };
    match snapshot.resources().cors_of(cluster, &config.browser) {
        Some(policy) if policy.allows_credentials(origin) => Ok(()),
        _ => Err(Refusal::new(STAGE, Reason::CrossSiteRefused)),
    }
}
