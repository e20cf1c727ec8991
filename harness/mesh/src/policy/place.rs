//! Where a request can be sent in the mesh, and where it can end.

use std::net::{IpAddr, SocketAddr};

use crate::block::Plan;
use crate::sample::{HOSTED, ONPREM};

/// A proxy with what stands behind it, in the order in which a request passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The ingress gateway.
    Gateway,
    /// The tunnel gateway.
    TunnelGateway,
    /// The control service behind its sidecar.
    ControlService,
    /// The platform-hosted data cluster.
    Hosted,
    /// The on-premises data cluster.
    Onprem,
}

impl Place {
    /// Each of them with its name.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("gateway", Self::Gateway),
        ("tunnel-gateway", Self::TunnelGateway),
        ("control-service", Self::ControlService),
        (HOSTED, Self::Hosted),
        (ONPREM, Self::Onprem),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, place)| *place == self).map_or("", |(name, _)| name)
    }

    /// The place of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
    }

    /// Whether an application answers there, behind the proxy.
    #[must_use]
    pub fn has_application(self) -> bool {
        !matches!(self, Self::Gateway | Self::TunnelGateway)
    }

    /// Whose proxy listens at an address.
    #[must_use]
    pub fn of(plan: Plan, address: IpAddr) -> Option<Self> {
        let proxies = [
            (plan.ingress(), Self::Gateway),
            (plan.tunnel_inbound(), Self::TunnelGateway),
            (plan.control_sidecar(), Self::ControlService),
            (plan.hosted_sidecar(), Self::Hosted),
            (plan.onprem_sidecar(), Self::Onprem),
        ];
        proxies.iter().find(|(proxy, _)| proxy.ip() == address).map(|(_, place)| *place)
    }
}

/// Where a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// The gateway's port for clients from outside.
    Public,
    /// The gateway's port for callers inside the mesh.
    Mesh,
    /// The sidecar of the platform-hosted data cluster.
    Hosted,
    /// That of the on-premises one.
    Onprem,
    /// The tunnel gateway's port for the mesh.
    TunnelGateway,
    /// The control service's mesh API, behind its sidecar.
    MeshApi,
    /// Its platform API.
    PlatformApi,
}

impl Entrance {
    /// Each of them with its name.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("public", Self::Public),
        ("mesh", Self::Mesh),
        (HOSTED, Self::Hosted),
        (ONPREM, Self::Onprem),
        ("tunnel-gateway", Self::TunnelGateway),
        ("mesh-api", Self::MeshApi),
        ("platform-api", Self::PlatformApi),
    ];

    /// Its address.
    #[must_use]
    pub fn address(self, plan: Plan) -> SocketAddr {
        match self {
            Self::Public => plan.ingress(),
            Self::Mesh => plan.ingress_mesh(),
            Self::Hosted => plan.hosted_sidecar(),
            Self::Onprem => plan.onprem_sidecar(),
            Self::TunnelGateway => plan.tunnel_inbound(),
            Self::MeshApi => plan.control_sidecar(),
            Self::PlatformApi => plan.platform_sidecar(),
        }
    }
}
