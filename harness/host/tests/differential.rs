//! The same module and the same requests through this host and through a real Envoy 1.40: statuses,
//! headers, bodies, logs, metrics, properties and local replies must be the same.
//!
//! What cannot be compared, and why, is listed in `docs/differences.md`.

mod common;
mod envoy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use envoy::case::{Case, Observed, Probe, Sent, Setup};
use envoy::crowd::{Crowd, Gathered, WORKERS};
use envoy::http2;
use envoy::logged as logs_of;
use envoy::port::Port;
use envoy::process::{Envoy, GRPC, Modules};
use envoy::story::{Story, Told};
use envoy::updates::Updates;
use envoy::wire::{self, Server};
use portcullis_testhost::Module;

const README: &str = include_str!("../README.md");
const DIFFERENCES: &str = include_str!("../docs/differences.md");

#[test]
fn the_readme_says_how_much_is_compared() {
    let cases = envoy::cases::all();
    let known = cases.iter().filter(|case| case.differs.is_some()).count();
    let stories = envoy::stories::all().len() + envoy::stories::last().len();
    for number in [
        format!("{} cases without a difference, {known} that hold", cases.len() - known),
        format!("{} crowds", envoy::crowd::all().len()),
        format!("{stories} stories"),
    ] {
        assert!(README.contains(&number), "the README should say: {number}");
    }
}

#[test]
fn this_host_behaves_as_envoy_does() {
    let paths: Modules = [
        (Probe::Script, common::probe_path("script")),
        (Probe::RustSdk, common::probe_path("rust-sdk")),
        (Probe::GoSdk, common::go_probe_path("go-sdk")),
    ]
    .into();
    let modules = load(&paths);
    let cases = envoy::cases::all();
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    let mut setups: BTreeMap<String, Setup> = BTreeMap::new();
    for case in &cases {
        setups.insert(case.setup.name.clone(), case.setup.clone());
    }
    let mut setups: Vec<Setup> = setups.into_values().collect();
    // Envoy itself turns its upstream's answers into those of a gRPC server.
    setups.push(Setup::named(GRPC));
    let server = Server::start();
    let ports = Ports::take();
    let envoy = Envoy::start(&setups, &paths, &ports.clusters(&server), 1);

    let only = std::env::var("CASE").ok();
    let mut differing = Vec::new();
    for case in cases.iter().filter(|case| only.as_deref().is_none_or(|only| case.name.contains(only))) {
        let here = envoy::here::run(case, &modules);
        let there = run_there(case, &envoy, &server, here.logs.len());
        if let Some(known) = &case.differs {
            let (name, row) = (case.name, known.row);
            let listed = DIFFERENCES.contains(&format!("\n| {row} |"));
            assert!(listed, "{name}: docs/differences.md has no row {row:?}");
            assert_ne!(here, there, "{name}: the known difference {row:?} is gone");
            if here.logs != known.here {
                differing.push(format!("== {name}: here is\n{:?}\nand not\n{:?}", here.logs, known.here));
            }
        } else if here != there {
            differing.push(format!(
                "== {}\n{}",
                case.name,
                difference(&here.to_string(), &there.to_string())
            ));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {} cases differ (- this host, + Envoy):\n{}",
        differing.len(),
        cases.len(),
        differing.join("\n")
    );
}

#[test]
fn several_workers_go_as_in_envoy() {
    let cases = envoy::crowd::all();
    let paths: Modules = [(Probe::Script, common::probe_path("script"))].into();
    let modules = load(&paths);
    let server = Server::start();
    let setups: Vec<Setup> = cases.iter().map(|case| case.setup.clone()).collect();
    let ports = Ports::take();
    let envoy = Envoy::start(&setups, &paths, &ports.clusters(&server), WORKERS);
    let mut differing = Vec::new();
    for case in &cases {
        let here = envoy::here::crowd(case, &modules);
        for (at, here, there) in crowd_there(case, &envoy, &server, &here) {
            println!("{}, step {at}:\n{here}", case.name);
            if *here != there {
                let difference = difference(&here.to_string(), &there.to_string());
                differing.push(format!("== {}, step {at}\n{difference}", case.name));
            }
        }
    }
    assert!(differing.is_empty(), "(- this host, + Envoy)\n{}", differing.join("\n"));
}

/// A case of several workers through Envoy, beside what this host made of it, whose log lines are awaited.
fn crowd_there<'a>(
    case: &Crowd,
    envoy: &Envoy,
    server: &Server,
    here: &'a [Gathered],
) -> Vec<(usize, &'a Gathered, Gathered)> {
    let step = |(at, ((tag, sent, times), here)): (usize, ((String, Sent, usize), &'a Gathered))| {
        let mut gathered = Gathered::default();
        let before = envoy.logged();
        for _ in 0..times {
            let client = wire::send(envoy.address(&case.setup.name), &sent).expect("Envoy listens");
            gathered.add(&tag, server.take(&tag).as_ref(), client.as_ref());
        }
        let lines =
            || -> BTreeSet<String> { logs_of(&envoy.log_after(before), case.name).into_iter().collect() };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !lines().is_superset(&here.logs) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Lines beyond those that are expected come late, too.
        std::thread::sleep(Duration::from_millis(50));
        gathered.logs = lines();
        (at, here, gathered)
    };
    case.tagged().zip(here).enumerate().map(step).collect()
}

fn load(paths: &Modules) -> BTreeMap<Probe, Module> {
    let load = |path| Module::from_file(path).expect("the probe loads");
    paths.iter().map(|(probe, path)| (*probe, load(path))).collect()
}

/// The ports that clusters need beside those of the upstream; they are kept as long as this lives.
struct Ports {
    closed: Port,
    grpc: Port,
}

impl Ports {
    fn take() -> Self {
        Self { closed: Port::closed(), grpc: Port::shared() }
    }

    /// The clusters that chains route to or call.
    fn clusters(&self, server: &Server) -> BTreeMap<&'static str, SocketAddr> {
        [
            ("upstream", server.address),
            ("upstream-b", server.address),
            ("refused", self.closed.address),
            (GRPC, self.grpc.address),
            ("grpc-refused", self.closed.address),
        ]
        .into()
    }
}

#[test]
fn new_configurations_and_drains_go_as_in_envoy() {
    tell_alike(envoy::stories::all());
}

#[test]
fn a_shutdown_goes_as_in_envoy() {
    tell_alike(envoy::stories::last());
}

/// Tells stories on both sides, side by side, since most of a story is waiting.
fn tell_alike(mut stories: Vec<Story>) {
    let paths: Modules = [(Probe::Script, common::probe_path("script"))].into();
    let modules = load(&paths);
    let server = Server::start();
    let only = std::env::var("CASE").ok();
    stories.retain(|story| only.as_deref().is_none_or(|only| story.first.name.contains(only)));
    if stories.is_empty() {
        return;
    }
    let updates = Updates::start(&stories, &paths, &server);
    let tell = |story: &Story| -> Vec<String> {
        let here = envoy::here::tell(story, &modules);
        let there = updates.tell(story, &here);
        let differs = |(at, (here, there)): (usize, (&Told, &Told))| {
            let step = at.checked_sub(1).map_or("the start", |at| story.steps[at].name());
            let difference = difference(&here.to_string(), &there.to_string());
            (here != there).then(|| format!("== {}, step {at}: {step}\n{difference}", story.first.name))
        };
        here.iter().zip(&there).enumerate().filter_map(differs).collect()
    };
    let differing: Vec<String> = std::thread::scope(|scope| {
        let told: Vec<_> = stories.iter().map(|story| scope.spawn(|| tell(story))).collect();
        told.into_iter().flat_map(|story| story.join().expect("the story ends")).collect()
    });
    assert!(
        differing.is_empty(),
        "{} steps differ (- this host, + Envoy):\n{}",
        differing.len(),
        differing.join("\n")
    );
}

/// The case through Envoy; its log is awaited until it has as many lines as this host's, and a moment longer.
fn run_there(case: &Case, envoy: &Envoy, server: &Server, lines: usize) -> Observed {
    let mut observed = Observed::default();
    let before = envoy.logged();
    for (tag, sent) in case.tagged() {
        let address = envoy.address(&case.setup.name);
        let client = if case.setup.http2 { http2::send(address, &sent) } else { wire::send(address, &sent) };
        let client = client.unwrap_or_else(|error| {
            let log = envoy.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            panic!("in {}: Envoy is gone ({error}); the end of its log:\n{}", case.name, tail.join("\n"))
        });
        observed.exchanges.push((server.seen(&tag), client));
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while logs_of(&envoy.log_after(before), case.name).len() < lines && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Lines beyond those that are expected come late, too.
    std::thread::sleep(Duration::from_millis(20));
    observed.logs = logs_of(&envoy.log_after(before), case.name);
    if let Some(prefix) = case.metrics {
        let stats = envoy.get(&format!("/stats?filter=wasmcustom.{prefix}"));
        observed.metrics = stats
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                Some((name.strip_prefix("wasmcustom.")?.to_owned(), value.parse().ok()?))
            })
            .collect();
    }
    observed
}

/// The lines in which two observations differ.
fn difference(here: &str, there: &str) -> String {
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = (here.lines().collect(), there.lines().collect());
    while ours.first().is_some_and(|line| theirs.first() == Some(line)) {
        ours.remove(0);
        theirs.remove(0);
    }
    while ours.last().is_some_and(|line| theirs.last() == Some(line)) {
        ours.pop();
        theirs.pop();
    }
    let ours: Vec<_> = ours.iter().map(|line| format!("  - {line}")).collect();
    let theirs: Vec<_> = theirs.iter().map(|line| format!("  + {line}")).collect();
    [ours, theirs].concat().join("\n")
}
