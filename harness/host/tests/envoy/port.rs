//! Ports that are kept for a test: what was free a moment ago may be anybody's now.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};

/// A port of loopback that belongs to this process. Nobody listens there, so connections are refused.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _socket: OwnedFd,
}

impl Port {
    /// One on which nobody can listen.
    pub(crate) fn closed() -> Self {
        Self::take(false)
    }

    /// One on which an Envoy of this user can listen: it sets `SO_REUSEPORT`, and so does this.
    pub(crate) fn shared() -> Self {
        Self::take(true)
    }

    fn take(shared: bool) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_reuseport(&socket, shared).expect("an option of sockets");
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = getsockname(&socket).expect("bound").try_into().expect("an IP address");
        Self { address, _socket: socket }
    }
}
