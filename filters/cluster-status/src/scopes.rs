//! Which scopes a cluster asks for.

use portcullis_identity::ids::Scope;
use portcullis_identity::{ClusterId, Principal};
use portcullis_model::config::PluginConfig;
use portcullis_model::state::SnapshotState;
use portcullis_model::{Reason, Refusal, Told};

use crate::name::STAGE;

/// Checks that a caller has every scope that the plugin and the cluster ask for. If not, all of them are told, so
/// that one new token is enough.
pub(crate) fn check(
    caller: &Principal,
    cluster: &ClusterId,
    config: &PluginConfig,
    snapshot: &SnapshotState,
) -> Result<(), Refusal> {
    let everywhere: &[Scope] = config.resource.as_ref().map_or(&[], |resource| &resource.required_scopes);
    let resources = snapshot.resources();
    if everywhere.is_empty() && !resources.ask() {
        return Ok(());
    }
    let here = resources.required_scopes(cluster);
    let here = here.ok_or_else(|| Refusal::new(STAGE, Reason::Internal))?;
    if everywhere.iter().chain(here).all(|scope| caller.scopes.contains(scope)) {
        return Ok(());
    }
    let more = here.iter().filter(|scope| !everywhere.contains(scope));
    let refusal = Refusal::new(STAGE, Reason::InsufficientScope);
    Err(refusal.telling(Told::Scope(Scope::list(everywhere.iter().chain(more)))))
}
