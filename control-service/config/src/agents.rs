//! Enrolment of data clusters, and what their agents are told.

use std::path::Path;
use std::time::Duration;

use portcullis_identity::ids::ClusterId;

use super::files::{Authorities, authorities};
use super::listeners::Listeners;
use super::section::Section;

/// Names of the agents' listener at most.
const MAX_NAMES: usize = 16;

/// What agents are given and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agents {
    /// DNS names under which agents reach their listener.
    pub server_names: Vec<String>,
    /// How long a certificate is good.
    pub certificate_life: Duration,
    /// Further roots that agents trust: of where tunnels end.
    pub authorities: Option<Authorities>,
    /// Where tunnels end.
    pub tunnel: Option<Tunnel>,
}

/// Where tunnels end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Host and port that agents dial.
    pub address: String,
    /// The name in the certificate there.
    pub server_name: String,
    /// Connections that an agent keeps at least.
    pub connections: u32,
}

/// A DNS name (RFC 1123), in lower case.
fn is_name(name: &str) -> bool {
    // The rule of a cluster's id is that of a DNS label.
    name.len() <= 253 && name.split('.').all(|label| ClusterId::new(label).is_ok())
}

/// Host and port.
fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    port.parse::<u16>().is_ok_and(|port| port > 0)
        && (is_name(host) || bare.parse::<std::net::IpAddr>().is_ok())
}

/// `None` where no agents are listened to.
pub(crate) fn read(folder: &Path, root: &mut Section<'_>, listeners: Option<&Listeners>) -> Option<Agents> {
    let given = root.has("agents");
    let mut section = root.section("agents");
    // Unknown where the listeners cannot be read.
    let listens = listeners.map(|listeners| listeners.agents.is_some());
    if !given {
        if listens == Some(true) {
            section.error(
                "serverNames",
                "is required with listeners.agents: the DNS names by which agents reach it",
            );
        }
        return None;
    }
    if listens == Some(false) {
        section.error("", "says what agents are told; it needs listeners.agents, where they call");
    }
    let hint = "the DNS names by which agents reach listeners.agents";
    let server_names: Vec<String> = section.required("serverNames", hint).unwrap_or_default();
    if server_names.len() > MAX_NAMES || server_names.iter().any(|name| !is_name(name)) {
        section.error("serverNames", "must be DNS names in lower case, 16 at most");
    }
    let life = section.number("certificateSeconds", 86_400, 60, 30 * 86_400);
    let authorities = authorities(folder, &mut section);
    let tunnel = tunnel(&mut section);
    section.finish();
    let certificate_life = Duration::from_secs(life.into());
    Some(Agents { server_names, certificate_life, authorities, tunnel })
}

fn tunnel(agents: &mut Section<'_>) -> Option<Tunnel> {
    if !agents.has("tunnel") {
        return None;
    }
    let mut section = agents.section("tunnel");
    let address: Option<String> = section.required("address", "host and port where tunnels end");
    if address.as_ref().is_some_and(|address| !is_address(address)) {
        section.error("address", "must be host:port, for example tunnels.example.com:443");
    }
    let server_name: Option<String> = section.required("serverName", "the name in the certificate there");
    if server_name.as_ref().is_some_and(|name| !is_name(name)) {
        section.error("serverName", "must be a DNS name in lower case");
    }
    let connections = section.number("connections", 2, 1, 64);
    section.finish();
    Some(Tunnel { address: address?, server_name: server_name?, connections })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_from_others() {
        for name in ["a", "agents.example.com", "1.a-b"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "A", "a..b", "-a", "a-", "a_b", "*.a", "a.", &"a".repeat(64)] {
            assert!(!is_name(name), "{name}");
        }
        for address in ["a:1", "127.0.0.1:443", "[::1]:8443"] {
            assert!(is_address(address), "{address}");
        }
        for address in ["a", "a:0", "a:65536", "https://a:1", ":1"] {
            assert!(!is_address(address), "{address}");
        }
    }
}
