//! IPv4 addresses, from the first to the last of a range.

use std::net::Ipv4Addr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Range {
    pub(crate) fn of_cidr(cidr: &str) -> Self {
        let (address, length) = cidr.split_once('/').unwrap_or_else(|| panic!("{cidr} has no length"));
        let address = number(address);
        let hosts = u32::MAX.checked_shr(length.parse().unwrap()).unwrap_or(0);
        Self { first: address & !hosts, last: address | hosts }
    }

    /// Cut wherever one of the sorted bounds lies; a bound is the first address behind a cut.
    pub(crate) fn cut(self, bounds: &[u64]) -> Vec<Self> {
        let [start, end] = self.bounds();
        let mut first = start;
        let mut pieces = Vec::new();
        for bound in bounds.iter().copied().filter(|bound| (start + 1..end).contains(bound)).chain([end]) {
            pieces
                .push(Self { first: u32::try_from(first).unwrap(), last: u32::try_from(bound - 1).unwrap() });
            first = bound;
        }
        pieces
    }

    pub(crate) fn bounds(self) -> [u64; 2] {
        [u64::from(self.first), u64::from(self.last) + 1]
    }

    pub(crate) fn holds(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", Ipv4Addr::from(self.first), Ipv4Addr::from(self.last))
    }
}

fn number(address: &str) -> u32 {
    u32::from(address.parse::<Ipv4Addr>().unwrap_or_else(|error| panic!("{address}: {error}")))
}

/// What is left of a range.
pub(crate) fn without(whole: Range, except: &[String]) -> Vec<Range> {
    let except: Vec<Range> = except.iter().map(|cidr| Range::of_cidr(cidr)).collect();
    let mut bounds: Vec<u64> = except.iter().flat_map(|range| range.bounds()).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut left = whole.cut(&bounds);
    left.retain(|piece| !except.iter().any(|range| range.holds(*piece)));
    left
}

#[test]
fn what_is_left_of_a_range_is_all_of_it_but_the_exceptions() {
    let left = without(Range::of_cidr("10.0.0.0/8"), &["10.1.0.0/16".into(), "10.255.255.255/32".into()]);
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    assert_eq!(left, ["10.0.0.0-10.0.255.255", "10.2.0.0-10.255.255.254"]);
    assert_eq!(without(Range::of_cidr("0.0.0.0/0"), &[]), [Range { first: 0, last: u32::MAX }]);
}
