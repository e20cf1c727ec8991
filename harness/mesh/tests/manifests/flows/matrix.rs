//! What is open from whom to whom: by the table, and by the policies.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::evaluate::{self, Party};
use super::ports::Ports;
use super::range::Range;
use super::table::{End, Overlay, Table};
use super::world::{Side, World};

/// By both ends. Addresses are ranges that no two tables cut in two: see [`differences`].
#[derive(Clone, Default)]
pub(crate) struct Connections(BTreeMap<(Place, Place), Ports>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Pods(String),
    Addresses(Range),
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(name) => f.write_str(name),
            Self::Addresses(range) => range.fmt(f),
        }
    }
}

impl Place {
    fn of(end: &End) -> Vec<Self> {
        match end {
            End::Pods(name) => vec![Self::Pods(name.clone())],
            End::Addresses(ranges) => ranges.iter().copied().map(Self::Addresses).collect(),
        }
    }

    fn pods(&self) -> Option<&str> {
        match self {
            Self::Pods(name) => Some(name),
            Self::Addresses(_) => None,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Addresses(one), Self::Addresses(other)) => one.holds(*other) || other.holds(*one),
            _ => self == other,
        }
    }

    fn bounds(&self) -> Vec<u64> {
        match self {
            Self::Pods(_) => Vec::new(),
            Self::Addresses(range) => range.bounds().to_vec(),
        }
    }

    fn cut(&self, bounds: &[u64]) -> Vec<Self> {
        match self {
            Self::Pods(_) => vec![self.clone()],
            Self::Addresses(range) => range.cut(bounds).into_iter().map(Self::Addresses).collect(),
        }
    }
}

impl Connections {
    fn add(&mut self, from: Place, to: Place, ports: &Ports) {
        self.0.entry((from, to)).or_default().join(ports);
    }

    pub(crate) fn is_open(&self, protocol: &str, from: &End, to: &End, port: u16) -> bool {
        let (from, to) = (Place::of(from), Place::of(to));
        let among = |places: &[Place], one: &Place| places.iter().any(|place| place.overlaps(one));
        self.0.iter().any(|((source, destination), ports)| {
            among(&from, source) && among(&to, destination) && ports.has(protocol, port)
        })
    }

    fn bounds(&self) -> Vec<u64> {
        self.0.keys().flat_map(|(from, to)| [from.bounds(), to.bounds()].concat()).collect()
    }

    fn cut(&self, bounds: &[u64]) -> BTreeMap<(Place, Place), Ports> {
        let mut cut = Self::default();
        for ((from, to), ports) in &self.0 {
            for from in from.cut(bounds) {
                for to in to.cut(bounds) {
                    cut.add(from.clone(), to, ports);
                }
            }
        }
        cut.0
    }
}

/// Whether any policy has a say: from whom nothing is asked to whom nothing is asked, all is open.
pub(crate) fn is_decided(world: &World, from: Option<&str>, to: Option<&str>) -> bool {
    let governed = |pods: Option<&str>, side| pods.is_some_and(|name| world.is_governed(name, side));
    governed(from, Side::Egress) || governed(to, Side::Ingress)
}

/// What the table says of an overlay, to which a component may be added that asks for addresses.
pub(crate) fn listed(
    table: &Table,
    overlay: &Overlay,
    world: &World,
    setting: &dyn Fn(&str) -> String,
    added: Option<(&str, Range)>,
) -> Connections {
    let mut connections = Connections::default();
    for flow in &table.flows {
        let places = |name: &str| -> Vec<Place> {
            let ends = flow.narrowed(table.ends(name, overlay, setting), added);
            ends.iter().flat_map(Place::of).collect()
        };
        let (sources, destinations) = (places(&flow.from), places(&flow.to));
        for from in &sources {
            for to in
                destinations.iter().filter(|to| from != *to && is_decided(world, from.pods(), to.pods()))
            {
                connections.add(from.clone(), to.clone(), &flow.open());
            }
        }
    }
    connections
}

/// What the policies open.
pub(crate) fn found(world: &World) -> Connections {
    connections(world, evaluate::open(world))
}

/// Of all that is open, what policies have a say in.
pub(crate) fn connections(world: &World, open: Vec<(Party, Party, Ports)>) -> Connections {
    let place = |party: Party| match party {
        Party::Pods(pod) => Place::Pods(pod.name.clone()),
        Party::Addresses(range) => Place::Addresses(range),
    };
    let mut connections = Connections::default();
    for (from, to, ports) in open {
        let (from, to) = (place(from), place(to));
        if is_decided(world, from.pods(), to.pods()) {
            connections.add(from, to, &ports);
        }
    }
    connections
}

/// One line for each pair that is not as listed.
pub(crate) fn differences(listed: &Connections, found: &Connections) -> Vec<String> {
    let mut bounds = [listed.bounds(), found.bounds()].concat();
    bounds.sort_unstable();
    bounds.dedup();
    let (listed, found) = (listed.cut(&bounds), found.cut(&bounds));
    let nothing = Ports::default();
    let mut told = Vec::new();
    for (from, to) in listed.keys().chain(found.keys().filter(|pair| !listed.contains_key(*pair))) {
        let pair = (from.clone(), to.clone());
        let (said, open) = (listed.get(&pair).unwrap_or(&nothing), found.get(&pair).unwrap_or(&nothing));
        for (ports, what) in
            [(open.without(said), "open, and not listed"), (said.without(open), "listed, and not open")]
        {
            if !ports.is_empty() {
                told.push(format!("{from} → {to}: {what}: {ports}"));
            }
        }
    }
    told
}
