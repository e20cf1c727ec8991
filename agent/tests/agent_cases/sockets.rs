//! Which sockets a process listens on, as the kernel has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses on which any of these processes listens.
pub(crate) fn listening(processes: &[u32]) -> Vec<String> {
    let mut own = Vec::new();
    for process in processes {
        for entry in std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            own.extend(target.strip_prefix("socket:[").map(|rest| rest.trim_end_matches(']').to_owned()));
        }
    }
    assert!(!own.is_empty());
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // Listening, and of one of these processes.
            if words[3] == "0A" && own.iter().any(|inode| inode == words[9]) {
                found.push(address(words[1]).to_string());
            }
        }
    }
    found
}

fn address(text: &str) -> SocketAddr {
    let (host, port) = text.split_once(':').unwrap();
    let words: Vec<u32> = (0..host.len() / 8)
        .map(|n| u32::from_str_radix(&host[n * 8..n * 8 + 8], 16).unwrap().to_be())
        .collect();
    let ip = match words[..] {
        [word] => IpAddr::V4(Ipv4Addr::from(word)),
        [a, b, c, d] => IpAddr::V6(Ipv6Addr::from(
            [a, b, c, d].iter().fold(0_u128, |all, word| all << 32 | u128::from(*word)),
        )),
        _ => panic!("{text}"),
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).unwrap())
}
