//! Busy ports: which process holds one.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::error::{MeshError, Result};

/// Checks that an address can be listened on.
///
/// # Errors
/// [`MeshError::Busy`] with the process that holds it, where it can be told.
pub(crate) fn require_free(address: SocketAddr, component: &str) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(_) => Err(busy(address, component)),
    }
}

/// The error for an address that could not be bound.
pub(crate) fn busy(address: SocketAddr, component: &str) -> MeshError {
    let owner = owner(address).map_or_else(String::new, |(name, pid)| format!(" by {name} (pid {pid})"));
    MeshError::Busy { address, component: component.to_owned(), owner }
}

/// Name and id of the process that listens on an IPv4 address, if this user may see it.
fn owner(address: SocketAddr) -> Option<(String, u32)> {
    let target = format!("socket:[{}]", listening_inode(address)?);
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(entry.path().join("fd"))
            .ok()?
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == target.as_str()));
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        holds.then(|| (name.trim().to_owned(), pid))
    })
}

/// The inode of the listening socket, from `/proc/net/tcp` (see proc_net_tcp.txt of the Linux kernel).
fn listening_inode(address: SocketAddr) -> Option<String> {
    const LISTEN: &str = "0A";
    let IpAddr::V4(ip) = address.ip() else { return None };
    let local = |ip: u32| format!("{ip:08X}:{:04X}", address.port());
    let wanted = [local(u32::from_le_bytes(ip.octets())), local(0)];
    fs::read_to_string("/proc/net/tcp").ok()?.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let matches = wanted.iter().any(|w| fields.get(1) == Some(&w.as_str()));
        (matches && fields.get(3) == Some(&LISTEN)).then(|| fields.get(9).map(ToString::to_string))?
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::wait;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let text = require_free(address, "the test").unwrap_err().to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
        drop(held);
        // A child that another test of this process is about to start holds a copy of every socket
        // until its program runs.
        let given_up = Instant::now() + wait::PATIENCE;
        while let Err(busy) = require_free(address, "the test") {
            assert!(Instant::now() < given_up, "{busy}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
