//! The closed list of requests that need no identity.
//!
//! None of them can reach a data cluster: routes to clusters match `x-portcullis-cluster`, which these
//! requests never have.

use portcullis_engine::cluster::select;
use portcullis_engine::head::Head;
use portcullis_model::Reason;
use portcullis_model::config::{PluginConfig, Role};

/// The platform's endpoints that a caller without an identity needs: method and exact path.
const ENDPOINTS: [(&[u8], &[u8]); 4] = [
    // Keys that verify identity tokens and service tokens.
    (b"GET", b"/v1/identity/jwks"),
    (b"GET", b"/oauth2/jwks"),
    // Where the token endpoint is (RFC 8414).
    (b"GET", b"/.well-known/oauth-authorization-server"),
    // Clients prove themselves in the request's body or in Authorization, which the endpoint itself checks.
    (b"POST", b"/oauth2/token"),
];

/// Whether a request is for one of the platform's endpoints of the list and names no cluster.
#[must_use]
pub(crate) fn is_exempt(config: &PluginConfig, head: &Head<'_>) -> bool {
    let listed = |(method, path): &(&[u8], &[u8])| head.method == *method && head.path_only() == *path;
    config.platform_paths
        && config.role == Role::Edge
        && ENDPOINTS.iter().any(listed)
        && head.check().is_ok()
        && select(head.selectors(), &config.domain) == Err(Reason::ClusterMissing)
}
