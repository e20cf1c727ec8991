//! Loopback blocks: every mesh owns one `127.N.0.0/16`, so that ports are constants and meshes run side by
//! side.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::error::{MeshError, Result};

/// The block that the manifests under `istio-manifests/overlays/local` are written for, and that `up` and
/// `demo` use.
pub const DEFAULT_BLOCK: u8 = 77;

/// The blocks that tests choose from.
const SHARED: std::ops::RangeInclusive<u8> = 80..=250;

/// Whoever listens here owns the block. Above 1023, so that no privilege is needed.
const LOCK_PORT: u16 = 15999;

/// A loopback block, owned for as long as this value lives.
#[derive(Debug)]
pub struct Block {
    number: u8,
    _lock: TcpListener,
}

impl Block {
    /// Takes the block with this number.
    ///
    /// # Errors
    /// [`MeshError::Busy`] when another mesh owns it.
    pub fn take(number: u8) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::new(127, number, 0, 1), LOCK_PORT));
        let lock =
            TcpListener::bind(address).map_err(|_| crate::port::busy(address, "the lock of this block"))?;
        Ok(Self { number, _lock: lock })
    }

    /// Takes any block that is free, beginning at one that depends on the process id.
    ///
    /// # Errors
    /// [`MeshError::NoBlock`] when all are taken.
    pub fn take_any() -> Result<Self> {
        let count = u32::from(SHARED.end() - SHARED.start()) + 1;
        let offset = std::process::id() % count;
        (0..count)
            .filter_map(|i| u8::try_from((offset + i) % count + u32::from(*SHARED.start())).ok())
            .find_map(|number| Self::take(number).ok())
            .ok_or(MeshError::NoBlock)
    }

    /// The addresses of the block.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan(self.number)
    }
}

/// Where everything listens in a block. The table in `harness/mesh/README.md` says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan(u8);

macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident = ($c:literal, $d:literal, $port:literal);)*) => {
        impl Plan {
            $($(#[$doc])* #[must_use] pub fn $name(self) -> SocketAddr {
                SocketAddr::from((Ipv4Addr::new(127, self.0, $c, $d), $port))
            })*
        }
    };
}

addresses! {
    /// istiod's xDS over gRPC.
    istiod_xds = (0, 1, 15010);
    /// istiod's HTTP port: readiness and debug pages.
    istiod_http = (0, 1, 18081);
    /// istiod's metrics.
    istiod_monitoring = (0, 1, 15014);
    /// istiod's page for looking at it from within (`ControlZ`).
    istiod_control = (0, 1, 9876);
    /// The SDS server of the harness.
    sds = (0, 2, 15030);
    /// The sample identity provider.
    idp = (0, 3, 8000);
    /// Its authorization server, over TLS.
    idp_sign_in = (0, 3, 8443);
    /// The Kubernetes API server, where the mesh has one.
    kubernetes = (0, 4, 6443);
    /// Its etcd.
    etcd = (0, 4, 2379);
    /// Where other members of etcd would come; there are none.
    etcd_peers = (0, 4, 2380);
    /// The ingress gateway: clients come here.
    ingress = (1, 1, 8080);
    /// The ingress gateway's port for clients over TLS, where `components/client-tls` opens it.
    ingress_tls = (1, 1, 8443);
    /// The ingress gateway's port for callers inside the mesh (mutual TLS).
    ingress_mesh = (1, 1, 9443);
    /// The ingress gateway's admin page.
    ingress_admin = (1, 1, 15000);
    /// The control service's mesh API, plain, reached by its sidecar.
    control_mesh_api = (2, 1, 9700);
    /// The control service's platform API.
    control_platform_api = (2, 1, 9701);
    /// The control service's health and metrics.
    control_operations = (2, 1, 9702);
    /// The control service's sidecar.
    control_sidecar = (2, 2, 9700);
    /// The control service's platform API behind its sidecar.
    platform_sidecar = (2, 2, 9701);
    /// The admin page of the control service's sidecar.
    control_admin = (2, 2, 15000);
    /// The Data API of `acme-hosted`.
    hosted_api = (3, 1, 8080);
    /// The sidecar of `acme-hosted`.
    hosted_sidecar = (3, 2, 8080);
    /// The admin page of `acme-hosted`'s sidecar.
    hosted_admin = (3, 2, 15000);
    /// Where data clusters dial in: the only listener that on-premises sites must reach.
    tunnel_accept = (4, 1, 8443);
    /// From the tunnel gateway's mesh side into the tunnels.
    tunnel_egress = (4, 1, 8081);
    /// The tunnel gateway's mesh side (mutual TLS).
    tunnel_inbound = (4, 2, 8080);
    /// The tunnel gateway's admin page.
    tunnel_admin = (4, 2, 15000);
    /// The Data API of `acme-onprem`.
    onprem_api = (5, 1, 8080);
    /// The sidecar of `acme-onprem`.
    onprem_sidecar = (5, 2, 8080);
    /// The admin page of `acme-onprem`'s sidecar.
    onprem_admin = (5, 2, 15000);
    /// The admin page of `acme-onprem`'s tunnel agent.
    agent_admin = (5, 3, 15000);
}

impl Plan {
    /// The block's number, the second byte of its addresses.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// How addresses of this block begin: `127.N.`.
    #[must_use]
    pub fn prefix(self) -> String {
        format!("127.{}.", self.0)
    }

    /// An address of the block for something that is not in the plan, such as an impostor in a test.
    #[must_use]
    pub fn spare(self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, self.0, 9, host), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_one_owner() {
        let block = Block::take_any().unwrap();
        let again = Block::take(block.plan().number()).unwrap_err().to_string();
        assert!(again.contains(&format!("(pid {})", std::process::id())), "{again}");
        assert!(again.contains("--block"), "{again}");
    }

    #[test]
    fn two_meshes_never_share_a_block() {
        let (one, two) = (Block::take_any().unwrap(), Block::take_any().unwrap());
        assert_ne!(one.plan(), two.plan());
    }
}
