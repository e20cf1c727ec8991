//! What goes upstream: reserved headers that came in are gone, ours are set.

use portcullis_authn::Credential;
use portcullis_host::{Host, HostResult, MapType};
use portcullis_model::config::{PluginConfig, Role};

use crate::cache::Known;
use crate::head::Head;
use crate::places;

const MAP: MapType = MapType::HttpRequestHeaders;

/// The headers that forward an identity.
pub(crate) mod names {
    /// The cluster that the route is chosen by.
    pub(crate) const CLUSTER: &str = "x-portcullis-cluster";
    /// The signed identity token.
    pub(crate) const IDENTITY: &str = portcullis_identity::HEADER;
    /// Roles, separated by commas.
    pub(crate) const ROLES: &str = "x-portcullis-roles";
    /// The source type.
    pub(crate) const SOURCE_TYPE: &str = "x-portcullis-source-type";
    /// The subject.
    pub(crate) const SUBJECT: &str = "x-portcullis-subject";
    /// The tenant.
    pub(crate) const TENANT: &str = "x-portcullis-tenant";
}

/// Removes reserved headers that came in. A sidecar keeps the identity token.
///
/// # Errors
/// When the proxy fails; the request must be refused then.
pub(crate) fn strip(host: &dyn Host, head: &Head<'_>, config: &PluginConfig) -> HostResult<()> {
    let keep = match config.role {
        Role::Edge => None,
        Role::Sidecar { .. } => Some(names::IDENTITY.as_bytes()),
    };
    head.reserved
        .iter()
        .filter(|name| Some(**name) != keep)
        .try_for_each(|name| host.remove_header(MAP, name))
}

/// Removes the credential, so that a Data API never sees it.
///
/// # Errors
/// When the proxy fails; the request must be refused then.
pub(crate) fn strip_credential(host: &dyn Host, head: &Head<'_>, config: &PluginConfig) -> HostResult<()> {
    if config.tokens.keep && matches!(head.presented.credential(), Ok(Credential::Bearer(_))) {
        return Ok(());
    }
    if let Some(place) = head.presented.place() {
        places::strip(host, place, head.path, &config.tokens)?;
    }
    if head.presented.has_authorization() {
        host.remove_header(MAP, b"authorization")?;
    }
    if head.presented.has_api_key() {
        host.remove_header(MAP, config.api_key_header.as_bytes())?;
    }
    Ok(())
}

/// Forwards who asks.
///
/// # Errors
/// When the proxy fails; the request must be refused then.
pub(crate) fn principal(host: &dyn Host, known: &Known) -> HostResult<()> {
    let principal = known.principal();
    host.add_header(MAP, names::SUBJECT, principal.subject.as_str().as_bytes())?;
    host.add_header(MAP, names::TENANT, principal.tenant.as_str().as_bytes())?;
    if !known.roles.is_empty() {
        host.add_header(MAP, names::ROLES, known.roles.as_bytes())?;
    }
    Ok(())
}
