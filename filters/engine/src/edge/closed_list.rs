//! The closed list of requests that need no identity.
//!
//! None of them can reach a data cluster: routes to clusters match `x-portcullis-cluster`, which these
//! requests never have.

use portcullis_model::Reason;
use portcullis_model::config::{PluginConfig, Role};

use crate::edge::platform_host;
use crate::edge::resource::is_about_a_resource;
use crate::head::Head;
use crate::head::cluster::select;

/// The platform's endpoints that a caller without an identity needs: method and exact path.
const ENDPOINTS: [(&str, &[u8]); 4] = [
    // Keys that verify identity tokens and service tokens.
    ("GET", b"/v1/identity/jwks"),
    ("GET", b"/oauth2/jwks"),
    // Where the token endpoint is (RFC 8414).
    ("GET", b"/.well-known/oauth-authorization-server"),
    // Clients prove themselves in the request's body or in Authorization, which the endpoint itself checks.
    ("POST", b"/oauth2/token"),
];

/// What of the closed list a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// The metadata of a protected resource, which the plugin answers.
    Metadata,
    /// One of the platform's endpoints.
    Endpoint,
    /// One of these, by a method that it does not have; this is the one that it has.
    WrongMethod(&'static str),
    /// A path of a host of the platform itself: its place among those that the configuration has.
    Platform(usize),
    /// At such a host, and not for anything that there is; this is why.
    NotThere(Reason),
}

/// What of the closed list a request is for, as if it had this method.
#[must_use]
pub fn listed(config: &PluginConfig, head: &Head<'_>, method: &[u8]) -> Option<Listed> {
    if config.role != Role::Edge {
        return None;
    }
    if let Some(asked) = platform_host::asked(config, head) {
        return Some(asked.map_or_else(Listed::NotThere, Listed::Platform));
    }
    if is_about_a_resource(config, head, method) {
        return Some(Listed::Metadata);
    }
    if !config.platform_paths {
        return None;
    }
    let path = head.path_only();
    let (known, _) = ENDPOINTS.iter().find(|(_, known)| path == *known)?;
    let usual = !head.is_never_passed_on()
        && head.check().is_ok()
        && select(head.selectors(), &config.domain) == Err(Reason::ClusterMissing);
    let listed = if method == known.as_bytes() { Listed::Endpoint } else { Listed::WrongMethod(known) };
    usual.then_some(listed)
}
