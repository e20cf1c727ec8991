//! The command line: scenarios played, and bad input answered with its place.

use std::path::PathBuf;
use std::process::Command;

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/stamp.wat");

/// The exit code and everything that was printed.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis-testhost"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Plays a scenario, given as text, for the example module.
fn play(scenario: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("scenario.yaml");
    std::fs::write(&path, scenario).expect("written");
    run(&["run", &path.to_string_lossy(), "--module", MODULE, "--quiet"])
}

#[test]
fn a_scenario_is_played_with_its_trace() {
    let (code, text) = run(&["run", "examples/scenarios/stamp.yaml"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("proxy_add_header_map_value(request_headers, \"x-stamp\", \"seen\")"), "{text}");
    let (code, text) = run(&["inspect", MODULE]);
    assert_eq!((code, text.contains("env.proxy_add_header_map_value")), (Some(0), true), "{text}");
}

#[test]
fn a_scenario_can_say_all_that_happens_to_a_filter() {
    let (code, text) = play(
        r#"
workers: 2
plugins: [{name: first}, {name: second, rootId: other, config: {a: 1}, onFailure: reload}]
properties: {node.id: gw-1}
upstream: [{chunks: [one, two], trailers: [[x-t, "1"]]}, {outcome: cut, body: half}, {outcome: refused}]
steps:
- request: {method: POST, chunks: [a, b], trailers: [[x-t, "1"]], worker: 1, http2: true}
  expect: {status: 200, bodyContains: onetwo}
- request: {path: /cut}
- request: {path: /gone}
  expect: {status: 503}
- {plugin: second, reconfigure: {a: 2}}
- {drain: true}
- request: {refusedBefore: 403}
  expect: {status: 403, forwarded: false}
"#,
    );
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn an_expectation_that_is_not_met_says_what_was_found() {
    let (code, text) = play(
        "plugins: [{}]\nsteps: [{request: {}, expectLog: never said, expect: {status: 500, forwarded: false, \
         responseHeaders: {x-a: b}, upstreamHeaders: {x-stamp: null}}}]",
    );
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "no log line contains \"never said\"",
        "status: expected 500, found 200",
        "forwarded: expected false, found true",
        "response header x-a: expected \"b\", found none",
        "upstream header x-stamp: expected none, found \"seen\"",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

#[test]
fn bad_scenarios_are_answered_with_their_place() {
    for (scenario, place) in [
        ("plugins: [{rootid: a}]\nsteps: []", "plugins[0]: unknown field `rootid`"),
        (
            "plugins: [{}]\nsteps:\n- request: {}\n  expect:\n    status: abc",
            "steps[0].expect.status: invalid type: string \"abc\", expected u16 at line 5 column 13",
        ),
        ("plugins: [{}]\nsteps: [{expect: {}}]", "step 1 of"),
        ("plugins: []\nsteps: []", "at least one plugin"),
        ("plugins: [{}]\nworkers: 0\nsteps: []", "at least one worker"),
        ("plugins: [{}]\nworkers: 100000000\nsteps: []", "at most 1024"),
        ("plugins: [{}]\nworkers: 2\nsteps: [{request: {worker: 2}}]", "step 1 of"),
        (
            "plugins: [{}]\nsteps: [{plugin: other, reconfigure: {}}]",
            "the plugin \"other\", which there is not",
        ),
        ("plugins: [{}]\nproperties: {a.b: 1.5}\nsteps: []", "1.5 is no whole number at line 2"),
        ("plugins: [{}]\nclusters: {x: [{status: 99999}]}\nsteps: []", "clusters.x[0].status"),
        ("plugins: [{}]\nsteps: [{advanceMs: -1}]", "steps[0].advanceMs"),
        ("", "missing field `plugins`"),
        ("{{{", "line 1 column 2"),
    ] {
        let (code, text) = play(scenario);
        assert_eq!(
            (code, text.contains(place), text.contains("panicked")),
            (Some(2), true, false),
            "{scenario}:\n{text}"
        );
    }
}

#[test]
fn files_that_are_not_there_or_no_modules() {
    let (code, text) = run(&["run", "nowhere.yaml"]);
    assert_eq!((code, text.contains("nowhere.yaml")), (Some(2), true), "{text}");
    let (code, text) = run(&["inspect", "Cargo.toml"]);
    assert_eq!((code, text.contains("not a valid WebAssembly module")), (Some(2), true), "{text}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.yaml");
    std::fs::write(&path, "plugins: [{}]\nsteps: []").expect("written");
    let (code, text) = run(&["run", &path.to_string_lossy()]);
    assert_eq!((code, text.contains("names no module")), (Some(2), true), "{text}");
}
