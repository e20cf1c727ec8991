//! What np-guard's analyzer finds open: a second opinion on what is evaluated here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;

use portcullis_mesh::{paths, tools};
use serde::Deserialize;
use serde_json::{Value, json};

use super::evaluate::Party;
use super::matrix::{connections, differences, found};
use super::ports::Ports;
use super::range::Range;
use super::world::World;
use crate::rendered::OVERLAYS;

#[test]
fn np_guards_analyzer_finds_open_what_is_found_here() {
    for overlay in OVERLAYS {
        let world = super::world(overlay);
        let told = differences(&connections(&world, open(&world)), &found(&world));
        assert!(told.is_empty(), "{overlay}, listed by np-guard:\n{}", told.join("\n"));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    src: String,
    dst: String,
    conn: String,
}

/// Every connection that it finds open, but from a workload to itself.
fn open(world: &World) -> Vec<(Party<'_>, Party<'_>, Ports)> {
    let folder = tempfile::tempdir().unwrap();
    for (at, resource) in resources(world).iter().enumerate() {
        let text = serde_json::to_string(resource).unwrap();
        std::fs::write(folder.path().join(format!("{at}.yaml")), text).unwrap();
    }
    let program = tools::installed_set(&paths::root(), "policies").unwrap().join("netpolicy");
    let mut command = Command::new(program);
    // Its own `--fail` finds nothing at all; what it cannot read it says.
    command.args(["list", "-q", "-o", "json", "--dirpath"]).arg(folder.path());
    let said = command.output().unwrap();
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && told.is_empty(), "{told}");
    let lines: Vec<Line> = serde_json::from_slice(&said.stdout).unwrap();
    let pods = world.pods.iter().enumerate();
    let names: BTreeMap<_, _> =
        pods.map(|(at, pod)| (format!("{}/w{at}[Deployment]", pod.namespace), pod)).collect();
    let party = |text: &str| match names.get(text) {
        Some(pod) => Party::Pods(pod),
        None => Party::Addresses(range(text).unwrap_or_else(|| panic!("who is {text}?"))),
    };
    lines.iter().map(|line| (party(&line.src), party(&line.dst), ports(&line.conn))).collect()
}

/// The pods as Deployments, for which the analyzer wants no addresses; and nothing but what decides.
fn resources(world: &World) -> Vec<Value> {
    let namespaces = world.namespaces.iter().map(|(name, labels)| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    });
    let pods = world.pods.iter().enumerate().map(|(at, pod)| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": format!("w{at}"), "namespace": pod.namespace},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": pod.labels},
                "template": {
                    "metadata": {"labels": pod.labels},
                    "spec": {"containers": [{"name": "any", "image": "any"}]},
                },
            },
        })
    });
    namespaces.chain(pods).chain(world.policies.iter().cloned()).collect()
}

/// `10.0.0.0-10.255.255.255`.
fn range(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| text.parse::<Ipv4Addr>().ok().map(u32::from);
    Some(Range { first: number(first)?, last: number(last)? })
}

/// `TCP 80,443-444,UDP 53`, `All Connections`, `No Connections`.
fn ports(text: &str) -> Ports {
    let mut ports = Ports::default();
    match text {
        "No Connections" => return ports,
        "All Connections" => return Ports::all(),
        _ => {}
    }
    let mut protocol = "";
    for part in text.split(',') {
        let numbers = match part.split_once(' ') {
            None => part,
            Some((name, numbers)) => {
                protocol = name;
                numbers
            }
        };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text}: no port, in: {part}"));
        ports.add(protocol, number(first), number(last));
    }
    ports
}

#[test]
fn what_the_analyzer_writes_is_read() {
    assert_eq!(ports("TCP 53,80-81,UDP 53"), Ports::of(&[81, 53, 80], &[53]));
    assert_eq!([ports("No Connections"), ports("All Connections")], [Ports::default(), Ports::all()]);
    assert_eq!(range("0.0.0.0-255.255.255.255"), Some(Range::of_cidr("0.0.0.0/0")));
}
