//! `NetworkPolicy` as rules of nftables, for connections that begin where they end: at this machine.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::super::world::{Side, World};

pub(super) fn of(world: &World, addresses: &BTreeMap<&str, Ipv4Addr>) -> String {
    let (mut jumps, mut chains) = (BTreeMap::<&str, Vec<String>>::new(), String::new());
    for (at, pod) in world.pods.iter().enumerate() {
        for (side, own, other) in [(Side::Egress, "saddr", "daddr"), (Side::Ingress, "daddr", "saddr")] {
            let policies: Vec<_> = world.policies_of(pod, side).collect();
            if policies.is_empty() {
                continue;
            }
            jumps.entry(own).or_default().push(format!("{} : jump {own}_{at}", addresses[pod.name.as_str()]));
            let allowed =
                policies.iter().flat_map(|policy| side.rules(policy).iter().map(move |rule| (policy, rule)));
            let lines: String = allowed
                .flat_map(|(policy, rule)| matches(world, addresses, policy, rule, side, other))
                .map(|line| format!("    {line} return\n"))
                .collect();
            writeln!(
                chains,
                "  chain {own}_{at} {{\n{lines}    meta l4proto tcp reject with tcp reset\n    drop\n  }}"
            )
            .unwrap();
        }
    }
    let jumps: String =
        jumps.iter().map(|(own, pods)| format!("    ip {own} vmap {{ {} }}\n", pods.join(", "))).collect();
    format!(
        "flush ruleset\ntable inet policies {{\n{chains}  chain begin {{\n    type filter hook output priority 0; policy accept;\n\
         \x20   ct state established,related accept\n{jumps}  }}\n}}\n"
    )
}

/// Each way in which a rule lets something through.
fn matches(
    world: &World,
    addresses: &BTreeMap<&str, Ipv4Addr>,
    policy: &Value,
    rule: &Value,
    side: Side,
    other: &str,
) -> Vec<String> {
    let peers = match side.peers(rule) {
        None => vec![String::new()],
        Some(peers) => peers
            .iter()
            .filter_map(|peer| match &peer["ipBlock"] {
                Value::Null => {
                    let pods: Vec<_> = world
                        .pods_of(policy, peer)
                        .map(|pod| addresses[pod.name.as_str()].to_string())
                        .collect();
                    (!pods.is_empty()).then(|| format!("ip {other} {{ {} }}", pods.join(", ")))
                }
                block => Some(of_block(block, other)),
            })
            .collect(),
    };
    let ports = ports(rule);
    peers
        .iter()
        .flat_map(|peer| ports.iter().map(move |port| format!("{peer} {port}").trim().to_owned()))
        .collect()
}

fn of_block(block: &Value, other: &str) -> String {
    let except = block["except"].as_array().into_iter().flatten().map(|cidr| cidr.as_str().unwrap());
    let except: Vec<_> = except.collect();
    let cidr = block["cidr"].as_str().unwrap();
    let inside = format!("ip {other} {cidr}");
    if except.is_empty() { inside } else { format!("{inside} ip {other} != {{ {} }}", except.join(", ")) }
}

fn ports(rule: &Value) -> Vec<String> {
    let Some(ports) = rule["ports"].as_array().filter(|ports| !ports.is_empty()) else {
        return vec![String::new()];
    };
    let one = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
        match (&port["port"], &port["endPort"]) {
            (Value::Null, _) => format!("meta l4proto {protocol}"),
            (first, Value::Null) => format!("{protocol} dport {first}"),
            (first, last) => format!("{protocol} dport {first}-{last}"),
        }
    };
    ports.iter().map(one).collect()
}

#[test]
fn a_policy_is_the_rules_that_kubernetes_says_that_it_is() {
    use serde_json::json;
    let rule = json!({
        "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, {"podSelector": {"matchLabels": {"app": "b"}}}],
        "ports": [{"port": 443}, {"protocol": "UDP", "port": 1000, "endPort": 1010}, {"protocol": "TCP"}],
    });
    let policy = |name: &str, selector: Value, types: Value, rules: Value| {
        json!({"metadata": {"name": name, "namespace": "n"},
            "spec": {"podSelector": selector, "policyTypes": types, "egress": rules}})
    };
    let pod = |name: &str| super::super::world::Pod {
        name: name.to_owned(),
        namespace: "n".to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
    };
    let world = World {
        pods: vec![pod("a"), pod("b")],
        namespaces: [("n".to_owned(), BTreeMap::new())].into(),
        policies: vec![
            policy("one", json!({"matchLabels": {"app": "a"}}), json!(["Egress"]), json!([rule])),
            policy("two", json!({"matchLabels": {"app": "b"}}), json!(["Ingress", "Egress"]), json!([{}])),
        ],
    };
    let addresses = [("a", Ipv4Addr::new(10, 0, 0, 1)), ("b", Ipv4Addr::new(10, 0, 0, 2))].into();
    let text = of(&world, &addresses);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let outside = "ip daddr 0.0.0.0/0 ip daddr != { 10.0.0.0/8 }";
    for line in [
        "ip saddr vmap { 10.0.0.1 : jump saddr_0, 10.0.0.2 : jump saddr_1 }",
        "ip daddr vmap { 10.0.0.2 : jump daddr_1 }",
        &format!("{outside} tcp dport 443 return"),
        &format!("{outside} udp dport 1000-1010 return"),
        &format!("{outside} meta l4proto tcp return"),
        "ip daddr { 10.0.0.2 } tcp dport 443 return",
        "return",
    ] {
        assert!(lines.contains(&line), "{line}:\n{text}");
    }
    assert_eq!(lines.iter().filter(|line| line.ends_with("return")).count(), 7, "{text}");
}
