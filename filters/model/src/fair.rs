//! Shares of what is scarce, so that one source cannot take all of it.

use std::net::{IpAddr, SocketAddr};

/// Where a request comes from, as far as fairness goes: an IPv4 address, or the /64 network of an IPv6
/// address, within which one host may have as many addresses as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    /// Nobody can tell; all such requests share one place.
    #[default]
    Unknown,
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u8; 8]),
}

impl ClientNetwork {
    /// The source of an address with a port, as Envoy writes it.
    #[must_use]
    pub fn of_address(text: &[u8]) -> Self {
        let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<SocketAddr>().ok());
        match address.map(|address| address.ip().to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V4(ip)) => Self::V4(ip.octets()),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }

    /// The source as it travels; see [`ClientNetwork::from_bytes`].
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Unknown => Vec::new(),
            Self::V4(bytes) => bytes.to_vec(),
            Self::V6(bytes) => bytes.to_vec(),
        }
    }

    /// Reads it back; anything else is unknown.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match (<[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
            (Ok(bytes), _) => Self::V4(bytes),
            (_, Ok(bytes)) => Self::V6(bytes),
            _ => Self::Unknown,
        }
    }
}

/// Whether a source that has `own` of the `used` places may have one more of `most`: while it has less than
/// are free.
///
/// So one source takes half of them at most, two take a third each, and a source that has none gets one as
/// long as any is free (dynamic thresholds, Choudhury and Hahne 1998).
#[must_use]
pub fn has_room(own: usize, used: usize, most: usize) -> bool {
    own < most.saturating_sub(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_network() {
        for (text, source) in [
            ("192.0.2.7:555", ClientNetwork::V4([192, 0, 2, 7])),
            ("192.0.2.7:1", ClientNetwork::V4([192, 0, 2, 7])),
            ("[::ffff:192.0.2.7]:1", ClientNetwork::V4([192, 0, 2, 7])),
            ("[2001:db8::1]:443", ClientNetwork::V6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0])),
            ("[2001:db8::ffff:2]:9", ClientNetwork::V6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0])),
            ("[2001:db8:0:1::1]:9", ClientNetwork::V6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1])),
            ("envoy://listener/", ClientNetwork::Unknown),
            ("", ClientNetwork::Unknown),
        ] {
            assert_eq!(ClientNetwork::of_address(text.as_bytes()), source, "{text}");
            assert_eq!(ClientNetwork::from_bytes(&source.to_bytes()), source);
        }
        assert_eq!(ClientNetwork::of_address(b"\xff"), ClientNetwork::Unknown);
        assert_eq!(ClientNetwork::from_bytes(&[1, 2, 3]), ClientNetwork::Unknown);
    }

    #[test]
    fn nobody_takes_all_and_a_newcomer_gets_a_place() {
        // Greedy sources that take what they get, round after round.
        for greedy in 1..=20_usize {
            let (most, mut own) = (64, vec![0; greedy]);
            for _ in 0..most {
                for at in 0..greedy {
                    let used = own.iter().sum();
                    own[at] += usize::from(has_room(own[at], used, most));
                }
            }
            let used: usize = own.iter().sum();
            assert!(used < most && has_room(0, used, most), "{greedy}: {own:?}");
            assert!(own.iter().all(|n| *n <= most / (greedy + 1) + 1), "{greedy}: {own:?}");
        }
        assert!(has_room(0, 0, 1) && !has_room(0, 1, 1) && !has_room(0, 2, 1));
    }
}
