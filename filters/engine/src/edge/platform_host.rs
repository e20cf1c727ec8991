//! Hosts of the platform itself: a request there goes on as it is to whom the host is for, who judges its credential.
//!
//! Which host it is is decided here and nowhere else: routes and policies look at [`PLATFORM_HEADER`], which the
//! filter alone can write. So no spelling of a host means one thing to the filter and another to a route.

use portcullis_model::Reason;
use portcullis_model::config::PluginConfig;
use portcullis_model::platform_host::PlatformHost;

use crate::head::Head;
use crate::head::cluster::{Selectors, is_host, named};

/// The header by which routes and policies know that a request is for a host of the platform, and for which.
pub const PLATFORM_HEADER: &str = "x-portcullis-platform";

/// The header by which whom the host is for learns the address of the client, for limits of its own and its records.
pub const CLIENT_HEADER: &str = "x-portcullis-client-address";

/// Which host of the platform a request asks for, by its place in the configuration, or why there is nothing there for
/// it; none where its host is no such one.
pub(crate) fn asked(config: &PluginConfig, head: &Head<'_>) -> Option<Result<usize, Reason>> {
    let is_asked = |known: &PlatformHost| is_host(head.authority, &known.host);
    let place = config.platform_hosts.iter().position(is_asked)?;
    let host = config.platform_hosts.get(place)?;
    Some(check(host, head, &config.domain).map(|()| place))
}

/// Whether a request asks for something that there is at this host, and for nothing else.
fn check(host: &PlatformHost, head: &Head<'_>, domain: &str) -> Result<(), Reason> {
    head.check()?;
    // What names a cluster beside the host contradicts it.
    let elsewhere = Selectors { authority: b"", ..head.selectors() };
    if named(elsewhere, domain) != Err(Reason::ClusterMissing) {
        return Err(Reason::ClusterAmbiguous);
    }
    if head.is_never_passed_on() {
        return Err(Reason::MethodRefused);
    }
    if head.upgrade {
        return Err(Reason::UpgradeRefused);
    }
    if host.has(head.path_only()) { Ok(()) } else { Err(Reason::PathUnknown) }
}
