//! Which ports are open, by protocol.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Ranges of ports by protocol, sorted, none touching another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports(BTreeMap<String, Vec<(u16, u16)>>);

impl Ports {
    pub(crate) fn of(tcp: &[u16], udp: &[u16]) -> Self {
        let mut ports = Self::default();
        for (protocol, numbers) in [("TCP", tcp), ("UDP", udp)] {
            for number in numbers {
                ports.add(protocol, *number, *number);
            }
        }
        ports
    }

    pub(crate) fn all() -> Self {
        let mut ports = Self::default();
        for protocol in ["SCTP", "TCP", "UDP"] {
            ports.add(protocol, 1, u16::MAX);
        }
        ports
    }

    pub(crate) fn add(&mut self, protocol: &str, first: u16, last: u16) {
        let ranges = self.0.entry(protocol.to_owned()).or_default();
        ranges.push((first, last));
        settle(ranges);
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (protocol, ranges) in &other.0 {
            for (first, last) in ranges {
                self.add(protocol, *first, *last);
            }
        }
    }

    pub(crate) fn has(&self, protocol: &str, port: u16) -> bool {
        let ranges = self.0.get(protocol).map(Vec::as_slice).unwrap_or_default();
        ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// What is in both.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let mut common = Self::default();
        for (protocol, ranges) in &self.0 {
            let others = other.0.get(protocol).map(Vec::as_slice).unwrap_or_default();
            for ((first, last), (from, to)) in
                ranges.iter().flat_map(|one| others.iter().map(move |two| (one, two)))
            {
                if first.max(from) <= last.min(to) {
                    common.add(protocol, *first.max(from), *last.min(to));
                }
            }
        }
        common
    }

    /// What is not in another one.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (protocol, ranges) in &self.0 {
            let all = ranges.iter().flat_map(|(first, last)| *first..=*last);
            let mut kept = all.filter(|port| !other.has(protocol, *port)).map(|port| (port, port)).collect();
            settle(&mut kept);
            left.0.insert(protocol.clone(), kept);
        }
        left
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
}

/// Sorts them, and joins those that touch.
fn settle(ranges: &mut Vec<(u16, u16)>) {
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges.drain(..) {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    *ranges = joined;
}

impl Display for Ports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let range = |(first, last): &(u16, u16)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        let protocols = self.0.iter().filter(|(_, ranges)| !ranges.is_empty()).map(|(protocol, ranges)| {
            format!("{protocol} {}", ranges.iter().map(range).collect::<Vec<_>>().join(","))
        });
        f.write_str(&protocols.collect::<Vec<_>>().join(", "))
    }
}

#[test]
fn ports_are_joined_cut_and_taken_away_by_protocol() {
    let mut ports = Ports::of(&[81, 53, 80], &[53]);
    assert_eq!(ports.to_string(), "TCP 53,80-81, UDP 53");
    ports.join(&Ports::of(&[82, 54], &[]));
    assert_eq!(ports.to_string(), "TCP 53-54,80-82, UDP 53");
    assert_eq!(ports.common(&Ports::all()), ports);
    assert_eq!(ports.without(&Ports::of(&[81], &[53])).to_string(), "TCP 53-54,80,82");
    assert!(ports.without(&Ports::all()).is_empty() && !ports.is_empty());
    assert!(Ports::all().has("SCTP", 1) && Ports::all().has("UDP", 65535) && !ports.has("UDP", 80));
}
