//! Where the service listens.

use std::net::SocketAddr;
use std::time::Duration;

use crate::section::Section;

/// What a listener bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Time for the head of a request, from when the connection is ready for it.
    pub header_time: Duration,
}

/// The listeners, and what each bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    /// Mesh API, for filters, behind the service's own sidecar.
    pub mesh: SocketAddr,
    /// Platform API, for operators and data clusters.
    pub platform: SocketAddr,
    /// Health and metrics.
    pub operations: SocketAddr,
    /// Agents of data clusters, by TLS; none unless it is said.
    pub agents: Option<SocketAddr>,
    /// What each of them bears.
    pub limits: Limits,
}

pub(crate) fn read(mut section: Section<'_>) -> Option<Listeners> {
    let hint = "address:port, for example 127.0.0.1:9700";
    let mut address = |field, required: bool| -> Option<SocketAddr> {
        let text: String = if required { section.required(field, hint)? } else { section.optional(field)? };
        text.parse()
            .map_err(|_| section.error(field, format!("{text:?} is not an IP address with a port; {hint}")))
            .ok()
    };
    let (mesh, platform) = (address("mesh", true), address("platform", true));
    let (operations, agents) = (address("operations", true), address("agents", false));
    let all = [("mesh", mesh), ("platform", platform), ("operations", operations), ("agents", agents)];
    for (at, (field, found)) in all.iter().enumerate() {
        let taken = found.is_some_and(|a| a.port() != 0) && all.iter().take(at).any(|(_, b)| b == found);
        if taken {
            section.error(field, "is the address of another listener too");
        }
    }
    let connections = section.number("maxConnections", 10_000, 8, 100_000);
    let header_time = section.number("headerSeconds", 30, 1, 300);
    section.finish();
    let limits = Limits {
        connections: usize::try_from(connections).unwrap_or(8),
        header_time: Duration::from_secs(header_time.into()),
    };
    Some(Listeners { mesh: mesh?, platform: platform?, operations: operations?, agents, limits })
}
