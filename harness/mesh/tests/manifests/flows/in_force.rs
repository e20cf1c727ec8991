//! The rendered policies in force: as rules of nftables in a network namespace whose addresses are the pods of the table and
//! somebody outside, and a real connection for each pair and port.
//!
//! The test starts itself once more in that namespace, which goes with it.

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use tokio::net::TcpSocket;

use super::matrix::is_decided;
use super::table::End;
use super::world::World;
use super::{TABLE, expected, world};
use crate::rendered::{OVERLAYS, setting};

/// Set in the namespace.
const INSIDE: &str = "PORTCULLIS_IN_FORCE";

/// One that nothing listens on by the table.
const NOBODYS: u16 = 12_345;

/// Where somebody outside is, beside the addresses of the settings.
const OUTSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(172, 20, 0, 9)];

#[test]
fn what_the_table_lists_can_be_connected_to_and_nothing_else() {
    if std::env::var_os(INSIDE).is_some() {
        for overlay in OVERLAYS {
            tried(overlay);
        }
        return;
    }
    let name = "flows::in_force::what_the_table_lists_can_be_connected_to_and_nothing_else";
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let program = std::env::current_exe().unwrap();
    command.arg("--net").arg(program).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let said = command.output().expect("unshare is missing (Debian: apt install util-linux)");
    let told = [said.stdout.as_slice(), said.stderr.as_slice()].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(said.status.success() && told.contains("1 passed"), "{told}");
}

/// What has an address in the namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Station {
    name: String,
    end: End,
    address: Ipv4Addr,
}

impl Station {
    fn pods(&self) -> Option<&str> {
        matches!(self.end, End::Pods(_)).then_some(&self.name)
    }
}

fn tried(overlay: &str) {
    let world = world(overlay);
    let stations = stations(overlay, &world);
    let addresses: BTreeMap<_, _> = stations.iter().map(|one| (one.name.as_str(), one.address)).collect();
    run("ip", &["-batch", "-"], &prepare(&stations));
    run("nft", &["-f", "-"], &rules::of(&world, &addresses));
    let ports: BTreeSet<u16> = ports();
    listen(&ports);
    let connections = expected(overlay, &world);
    let (mut open, mut closed, mut wrong) = (0, 0, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (from, to) in stations.iter().flat_map(|from| stations.iter().map(move |to| (from, to))) {
        if from == to || !is_decided(&world, from.pods(), to.pods()) {
            continue;
        }
        for port in &ports {
            let listed = connections.is_open("TCP", &from.end, &to.end, *port);
            let connected = runtime.block_on(connects(from.address, to.address, *port));
            if listed != connected {
                wrong.push(format!(
                    "{} → {} at {port}: listed {listed}, connected {connected}",
                    from.name, to.name
                ));
            }
            *(if connected { &mut open } else { &mut closed }) += 1;
        }
        let listed = connections.is_open("UDP", &from.end, &to.end, 53);
        if listed != sends(from.address, to.address, 53) {
            wrong.push(format!("{} → {} at 53 by UDP: listed {listed}", from.name, to.name));
        }
    }
    assert!(wrong.is_empty(), "{overlay}: {wrong:#?}");
    println!("{overlay}: {open} connections open, {closed} refused");
    assert!(open > 10 && closed > 20 * open, "{overlay}: {open} open, {closed} closed");
}

fn stations(overlay: &str, world: &World) -> Vec<Station> {
    let mut stations: Vec<Station> = Vec::new();
    for (at, pod) in world.pods.iter().enumerate() {
        let address = Ipv4Addr::new(10, 244, 0, u8::try_from(at + 1).unwrap());
        stations.push(Station { name: pod.name.clone(), end: End::Pods(pod.name.clone()), address });
    }
    let known = TABLE.overlay(overlay);
    let settings =
        TABLE.addresses.iter().flat_map(|one| TABLE.ends(&one.name, known, &|key| setting(overlay, key)));
    let first = settings.filter_map(|end| match end {
        End::Addresses(ranges) if ranges[0].first > 0 => Some(Ipv4Addr::from(ranges[0].first)),
        _ => None,
    });
    for address in first.chain(OUTSIDE) {
        let range = super::range::Range { first: address.into(), last: address.into() };
        stations.push(Station { name: address.to_string(), end: End::Addresses(vec![range]), address });
    }
    stations
}

fn prepare(stations: &[Station]) -> String {
    let addresses = stations.iter().map(|one| format!("addr replace {}/32 dev lo\n", one.address));
    ["link set lo up\n".to_owned()].into_iter().chain(addresses).collect()
}

/// All that anybody listens on, for each pod: what is refused is so by the rules.
fn ports() -> BTreeSet<u16> {
    let listened =
        TABLE.workloads.iter().flat_map(|one| &one.listens).chain(&TABLE.proxies).map(|port| port.port);
    let led_to = TABLE.flows.iter().flat_map(|flow| &flow.ports).copied();
    listened.chain(led_to).chain([NOBODYS]).collect()
}

/// Once for all overlays: whatever was listening before goes on.
fn listen(ports: &BTreeSet<u16>) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        for port in ports {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).unwrap();
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
    });
}

async fn connects(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> bool {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    match socket.connect(SocketAddr::from((to, port))).await {
        Ok(stream) => {
            assert_eq!(stream.peer_addr().unwrap().ip(), IpAddr::from(to));
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => false,
        Err(error) => panic!("{from} → {to}:{port}: {error}"),
    }
}

/// The kernel tells who sends that a rule has dropped it.
fn sends(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> bool {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    match socket.send_to(b"?", (to, port)) {
        Ok(_) => true,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => false,
        Err(error) => panic!("{from} → {to}:{port}: {error}"),
    }
}

fn run(program: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error} (Debian: apt install iproute2 nftables)"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "{program}: {}\n{input}", String::from_utf8_lossy(&said.stderr));
}
