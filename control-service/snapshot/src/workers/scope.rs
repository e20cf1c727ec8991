//! Whom a change concerns.

use portcullis_identity::ids::ClusterId;

use crate::View;

/// Whom a change concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutScope<'a> {
    /// Gateways alone.
    Gateways,
    /// Gateways, and the sidecars of a cluster.
    Cluster(&'a ClusterId),
    /// Gateways and all sidecars.
    Everybody,
}

impl RolloutScope<'_> {
    pub(super) fn includes(self, view: &str) -> bool {
        let is = |one: View| view == one.to_string();
        match self {
            Self::Everybody => true,
            Self::Gateways => is(View::Gateway),
            Self::Cluster(id) => is(View::Gateway) || is(View::Public(id.clone())),
        }
    }
}
