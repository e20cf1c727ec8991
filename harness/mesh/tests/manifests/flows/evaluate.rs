//! What the policies open, pair by pair: both sides have to let a connection through, and who has no policy lets all through.
//!
//! A range of addresses holds no pods here, as with the network plugins that count none to one. `in_force` has the kernel's
//! opinion.

use serde_json::Value;

use super::ports::Ports;
use super::range::{self, Range};
use super::world::{Pod, Side, World};

/// One end of a connection.
#[derive(Clone, Copy)]
pub(crate) enum Party<'a> {
    Pods(&'a Pod),
    Addresses(Range),
}

/// Every pair, and the ports that are open from the first to the second.
pub(crate) fn open(world: &World) -> Vec<(Party<'_>, Party<'_>, Ports)> {
    let parties: Vec<Party> =
        world.pods.iter().map(Party::Pods).chain(outside(world).into_iter().map(Party::Addresses)).collect();
    let pairs = parties.iter().flat_map(|from| parties.iter().map(move |to| (*from, *to)));
    pairs
        .filter(|(from, to)| match (from, to) {
            (Party::Pods(one), Party::Pods(other)) => !std::ptr::eq(*one, *other),
            (Party::Addresses(_), Party::Addresses(_)) => false,
            _ => true,
        })
        .map(|(from, to)| {
            let sent = allowed(world, Side::Egress, from, to);
            (from, to, sent.common(&allowed(world, Side::Ingress, to, from)))
        })
        .collect()
}

/// All addresses, in pieces of which every policy says the same.
fn outside(world: &World) -> Vec<Range> {
    let mut bounds = Vec::new();
    for policy in &world.policies {
        let rules =
            Side::BOTH.iter().flat_map(|side| side.rules(policy).iter().map(move |rule| (side, rule)));
        for block in
            rules.flat_map(|(side, rule)| side.peers(rule).unwrap_or_default()).map(|peer| &peer["ipBlock"])
        {
            bounds.extend(ranges(block).iter().flat_map(|range| range.bounds()));
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    Range::of_cidr("0.0.0.0/0").cut(&bounds)
}

/// What one end lets through on its side.
fn allowed(world: &World, side: Side, own: Party, other: Party) -> Ports {
    let Party::Pods(pod) = own else { return Ports::all() };
    let mut policies = world.policies_of(pod, side).peekable();
    if policies.peek().is_none() {
        return Ports::all();
    }
    let mut open = Ports::default();
    for (policy, rule) in
        policies.flat_map(|policy| side.rules(policy).iter().map(move |rule| (policy, rule)))
    {
        let meant = side
            .peers(rule)
            .is_none_or(|peers| peers.iter().any(|peer| is_meant(world, policy, peer, other)));
        if meant {
            open.join(&ports(rule));
        }
    }
    open
}

fn is_meant(world: &World, policy: &Value, peer: &Value, party: Party) -> bool {
    match party {
        Party::Pods(pod) => world.pods_of(policy, peer).any(|one| std::ptr::eq(one, pod)),
        Party::Addresses(range) => ranges(&peer["ipBlock"]).iter().any(|block| block.holds(range)),
    }
}

/// Those of an `ipBlock`; none where there is none.
fn ranges(block: &Value) -> Vec<Range> {
    let Some(cidr) = block["cidr"].as_str() else { return Vec::new() };
    let except =
        block["except"].as_array().into_iter().flatten().map(|cidr| cidr.as_str().unwrap().to_owned());
    range::without(Range::of_cidr(cidr), &except.collect::<Vec<_>>())
}

fn ports(rule: &Value) -> Ports {
    let Some(listed) = rule["ports"].as_array().filter(|ports| !ports.is_empty()) else {
        return Ports::all();
    };
    let number = |value: &Value| value.as_u64().map(|port| u16::try_from(port).unwrap());
    let mut ports = Ports::default();
    for port in listed {
        let first = number(&port["port"]);
        let last = number(&port["endPort"]).or(first).unwrap_or(u16::MAX);
        ports.add(port["protocol"].as_str().unwrap_or("TCP"), first.unwrap_or(1), last);
    }
    ports
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Pods `a` and `b` of namespace `n`, `c` of `m`, and these policies of `n`.
    fn opened(policies: &[Value]) -> impl Fn(&str, &str) -> String + use<> {
        let pod = |name: &str, namespace: &str| Pod {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            labels: [("app".to_owned(), name.to_owned())].into(),
        };
        let policies =
            policies.iter().map(|spec| json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec}));
        let labels = |name: &str| (name.to_owned(), [("name".to_owned(), name.to_owned())].into());
        let world = World {
            pods: vec![pod("a", "n"), pod("b", "n"), pod("c", "m")],
            namespaces: [labels("n"), labels("m")].into(),
            policies: policies.collect(),
        };
        let name = |party: Party| match party {
            Party::Pods(pod) => pod.name.clone(),
            Party::Addresses(range) => range.to_string(),
        };
        let found: Vec<_> = open(&world)
            .into_iter()
            .map(|(from, to, ports)| (name(from), name(to), ports.to_string()))
            .collect();
        move |from, to| {
            let pair = found.iter().find(|(source, destination, _)| source == from && destination == to);
            pair.unwrap_or_else(|| panic!("no {from} → {to} among {found:?}")).2.clone()
        }
    }

    const ALL: &str = "SCTP 1-65535, TCP 1-65535, UDP 1-65535";
    const ANY: &str = "0.0.0.0-255.255.255.255";

    #[test]
    fn without_a_policy_all_is_open_and_with_an_empty_one_nothing() {
        let open = opened(&[]);
        assert_eq!([open("a", "b"), open("c", "a"), open("a", ANY), open(ANY, "a")], [ALL; 4]);
        let open =
            opened(&[json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"]})]);
        assert_eq!([open("b", "a"), open(ANY, "a"), open("c", "a")], [""; 3]);
        assert_eq!([open("a", "b"), open("a", ANY), open("c", "b")], [ALL; 3]);
    }

    #[test]
    fn both_sides_have_to_agree_and_policies_add_up() {
        let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
        let to_b = |ports: Value| {
            json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": ports}]})
        };
        let from_a = json!({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}],
                "ports": [{"port": 80}, {"port": 90, "endPort": 99}, {"protocol": "UDP"}]}]});
        assert_eq!(opened(&[deny.clone(), to_b(json!([]))])("a", "b"), "");
        assert_eq!(opened(&[deny.clone(), from_a.clone()])("a", "b"), "");
        let open = opened(&[deny.clone(), from_a.clone(), to_b(json!([]))]);
        assert_eq!([open("a", "b"), open("b", "a")], ["TCP 80,90-99, UDP 1-65535", ""]);
        let some = [to_b(json!([{"port": 95}])), to_b(json!([{"protocol": "UDP", "port": 53}]))];
        assert_eq!(opened(&[vec![deny, from_a], some.to_vec()].concat())("a", "b"), "TCP 95, UDP 53");
    }

    #[test]
    fn a_peer_is_of_the_own_namespace_unless_it_names_others_and_a_block_has_no_pods() {
        let to = |peers: Value| {
            opened(&[json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"],
                "egress": [{"to": peers, "ports": [{"port": 1}]}]})])
        };
        let open = to(json!([{"podSelector": {}}]));
        assert_eq!([open("a", "b"), open("a", "c"), open("a", ANY)], ["TCP 1", "", ""]);
        let open = to(json!([{"namespaceSelector": {"matchLabels": {"name": "m"}}}]));
        assert_eq!([open("a", "b"), open("a", "c")], ["", "TCP 1"]);
        let open = to(json!([{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "c"}}}]));
        assert_eq!([open("a", "b"), open("a", "c")], ["", "TCP 1"]);
        let open = to(json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]));
        assert_eq!([open("a", "b"), open("a", "10.0.0.0-10.255.255.255")], ["", ""]);
        assert_eq!(open("a", "11.0.0.0-255.255.255.255"), "TCP 1");
        assert_eq!(to(json!([]))("a", ANY), "TCP 1", "an empty list of peers is everybody");
    }
}
