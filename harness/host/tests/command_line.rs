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

/// Writes a scenario and a second module, which adds `x-other` instead of `x-stamp`, into a folder.
fn folder_with(scenario: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("scenario.yaml"), scenario).expect("written");
    let stamp = std::fs::read_to_string(MODULE).expect("the example");
    std::fs::write(folder.path().join("stamp.wat"), &stamp).expect("written");
    std::fs::write(folder.path().join("other.wat"), stamp.replace("x-stamp", "x-other")).expect("written");
    folder
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
fn plugins_of_a_scenario_can_have_modules_of_their_own() {
    let scenario = "
module: stamp.wat
plugins: [{name: first}, {name: second, module: other.wat}]
steps:
- {request: {}, expect: {upstreamHeaders: {x-stamp: seen, x-other: seen}}}
";
    let folder = folder_with(scenario);
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let play = |given: &[String]| {
        let path = at("scenario.yaml");
        let given = given.iter().flat_map(|given| ["--module", given.as_str()]);
        run(&[["run", path.as_str()].as_slice(), &given.collect::<Vec<_>>()].concat())
    };
    let (code, text) = play(&[]);
    assert_eq!(code, Some(0), "{text}");
    let place = |name: &str| text.find(&format!("request_headers, \"{name}\"")).expect("the call is traced");
    assert!(place("x-stamp") < place("x-other"), "{text}");
    // Each the other one's: both headers still come, in the other order.
    let (code, text) = play(&[format!("first={}", at("other.wat")), format!("second={}", at("stamp.wat"))]);
    assert_eq!(code, Some(0), "{text}");
    let place = |name: &str| text.find(&format!("request_headers, \"{name}\"")).expect("the call is traced");
    assert!(place("x-other") < place("x-stamp"), "{text}");
    // A module in the place of the scenario's leaves that of the second plugin alone.
    let (code, text) = play(&[at("other.wat")]);
    assert_eq!(
        (code, text.contains("upstream header x-stamp: expected \"seen\", found none")),
        (Some(1), true),
        "{text}"
    );
    let (code, text) = play(&["third=nowhere.wasm".to_owned()]);
    assert_eq!((code, text.contains("third=nowhere.wasm")), (Some(2), true), "{text}");
}

#[test]
fn the_full_example_is_played() {
    let (code, text) = run(&["run", "examples/scenarios/everything.yaml"]);
    assert_eq!(code, Some(0), "{text}");
}

/// What serde says that it would have expected, in each part of a scenario.
#[test]
fn every_field_is_in_the_documentation_and_in_the_full_example() {
    const README: &str = include_str!("../README.md");
    const EXAMPLE: &str = include_str!("../examples/scenarios/everything.yaml");
    let mut count = 0;
    for scenario in [
        "{_: 0}",
        "plugins: [{_: 0}]",
        "plugins: [{}]\nclusters: {x: [{_: 0}]}",
        "plugins: [{}]\nsteps: [{_: 0}]",
        "plugins: [{}]\nsteps: [{request: {_: 0}}]",
        "plugins: [{}]\nsteps: [{request: {}, expect: {_: 0}}]",
        "plugins: [{onFailure: _}]",
        "plugins: [{}]\nclusters: {x: [{outcome: _}]}",
        "plugins: [{}]\nclusters: {x: [{when: {_: 0}}]}",
    ] {
        let (_, text) = play(scenario);
        let (_, expected) = text.split_once(", expected ").unwrap_or_else(|| panic!("{text}"));
        let names = expected.split('`').skip(1).step_by(2);
        for name in names {
            count += 1;
            assert!(README.contains(&format!("`{name}`")), "README.md does not name {name} ({scenario})");
            assert!(EXAMPLE.contains(name), "everything.yaml does not use {name} ({scenario})");
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn a_bench_says_how_fast_it_went() {
    let (code, text) = run(&["bench", "examples/scenarios/stamp.yaml", "--seconds", "1"]);
    assert_eq!(code, Some(0), "{text}");
    let number = |after: &str, before: &str| -> f64 {
        let line = text.lines().find(|line| line.contains(after) && line.contains(before));
        let line = line.unwrap_or_else(|| panic!("no {after:?} {before:?} in {text}"));
        line.replace(after, "").replace(before, "").trim().parse().expect("a number")
    };
    assert!(number("", " requests/s on one thread") > 100.0, "{text}");
    assert!(number("host started: ", " ms") > 0.0, "{text}");
    assert!(number("modules loaded (from the cache, if they were there): ", " ms") > 0.0, "{text}");
    let (code, text) =
        run(&["bench", "examples/scenarios/stamp.yaml", "--seconds", "1", "--module", "nowhere"]);
    assert_eq!(code, Some(2), "{text}");
}

/// The second process takes the compiled code from the disk: it runs what lies there, even if that is another
/// module's.
#[test]
fn compiled_code_is_taken_from_the_cache() {
    let folder = folder_with("plugins: [{}]\nsteps: [{request: {}, expect: {status: 200}}]");
    let scenario = folder.path().join("scenario.yaml");
    let play = |module: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis-testhost"))
            .arg("run")
            .arg(&scenario)
            .arg("--module")
            .arg(folder.path().join(module))
            .env_clear()
            .env("HOME", folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let entries = || -> Vec<PathBuf> {
        let mut folders = vec![folder.path().join("cache")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let into = if is_folder { &mut folders } else { &mut files };
                into.push(entry.path());
            }
        }
        files.retain(|file| file.extension().is_none());
        files
    };
    assert!(play("stamp.wat").contains("\"x-stamp\""));
    let first = entries();
    assert_eq!(first.len(), 1, "one module, one entry: {first:?}");
    assert!(play("other.wat").contains("\"x-other\""));
    let second: Vec<_> = entries().into_iter().filter(|entry| !first.contains(entry)).collect();
    assert_eq!(second.len(), 1, "another module, another entry: {second:?}");
    std::fs::copy(&second[0], &first[0]).expect("copied");
    assert!(play("stamp.wat").contains("\"x-other\""), "the entry is not used");
}

#[test]
fn an_expectation_that_is_not_met_says_what_was_found() {
    let (code, text) = play(
        "plugins: [{}]\nsteps: [{request: {}, expectLog: never said, expect: {status: 500, forwarded: false, \
         responseHeaders: {x-a: b}, upstreamHeaders: {x-stamp: null}}}]",
    );
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "no log line contains \"never said\"; nothing was logged",
        "status: expected 500, found 200",
        "forwarded: expected false, found true",
        "response header x-a: expected \"b\", found none",
        "upstream header x-stamp: expected none, found \"seen\"",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

/// A module that logs when it starts, when it is configured and when it ticks; counts configurations; and refuses one
/// that is not empty.
const TALKER: &str = r#"(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "start config tick  hits")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func $say (param i32 i32) (drop (call $log (i32.const 2) (local.get 0) (local.get 1))))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
    (call $say (i32.const 16) (i32.const 5)) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (call $say (i32.const 22) (i32.const 6))
    (drop (call $period (i32.const 10)))
    (drop (call $define (i32.const 0) (i32.const 35) (i32.const 4) (i32.const 512)))
    (drop (call $add (i32.load (i32.const 512)) (i64.const 1)))
    (i32.eqz (local.get 1)))
  (func (export "proxy_on_tick") (param i32) (call $say (i32.const 29) (i32.const 4))))"#;

/// Plays a scenario for a module, both given as text, with everything printed.
fn play_aloud(module: &str, scenario: &str) -> (Option<i32>, String) {
    let folder = folder_with(scenario);
    std::fs::write(folder.path().join("module.wat"), module).expect("written");
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    run(&["run", &at("scenario.yaml"), "--module", &at("module.wat")])
}

#[test]
fn what_is_logged_outside_of_exchanges_is_shown() {
    let (code, text) = play_aloud(TALKER, "plugins: [{}]\nsteps: [{advanceMs: 10, expectLog: tick}]");
    assert_eq!(code, Some(0), "{text}");
    let place = |line: &str| text.find(line).unwrap_or_else(|| panic!("no {line:?}: {text}"));
    let step = place("step 1: 10 ms pass");
    for said in ["[info] canary#1 start", "[info] worker 0#1 config"] {
        assert!(place(said) < step, "{text}");
    }
    assert!(step < place("[info] worker 0#1 tick"), "{text}");
}

#[test]
fn metrics_and_a_refused_configuration_can_be_expected() {
    let steps = "steps:
- {reconfigure: {a: 1}, expectRefused: returned false, expectMetrics: {hits: 4, other: null}}
- {reconfigure: ''}
";
    let (code, text) = play_aloud(TALKER, &["plugins: [{}]\n", steps].concat());
    assert_eq!(code, Some(0), "{text}");
    let wrong = "plugins: [{}]\nsteps:
- {reconfigure: '', expectRefused: refuse}
- {advanceMs: 1, expectMetrics: {hits: 1, other: [1]}}
";
    let (code, text) = play_aloud(TALKER, wrong);
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "the new configuration was not refused",
        "metric hits: expected 1, found",
        "metric other: expected [1], found none",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn answers_can_be_for_certain_requests() {
    let (code, text) = play(
        "plugins: [{}]
upstream:
- {when: {path: /a, method: POST}, body: posted}
- {when: {path: /a}, body: first}
- {when: {path: /a}, body: second}
- {when: {path: '/a?b'}, body: query}
- {body: any}
steps:
- {request: {path: /other}, expect: {bodyContains: any}}
- {request: {path: '/a?b'}, expect: {bodyContains: first}}
- {request: {path: '/a?b'}, expect: {bodyContains: second}}
- {request: {path: /a, method: POST}, expect: {bodyContains: posted}}
",
    );
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = play("plugins: [{}]\nupstream: [{when: {path: /a}}]\nsteps: [{request: {path: /b}}]");
    assert_eq!((code, text.contains("✗ upstream has no answer for GET /b")), (Some(1), true), "{text}");
}

#[test]
fn a_call_to_a_cluster_that_there_is_not_names_it() {
    let ask = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ask.wat");
    let scenario = "plugins: [{}]\nclusters: {auth: [{}]}\nsteps: [{request: {}, expect: {status: 403}}]";
    let (_, text) = play_aloud(&std::fs::read_to_string(ask).expect("the example"), scenario);
    assert!(
        text.contains("! a plugin calls the cluster \"authz\", which the scenario does not have"),
        "{text}"
    );
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let folder = folder_with("plugins: [{}]\nsteps: [{request: {}}]");
    let scenario = folder.path().join("scenario.yaml");
    let program = env!("CARGO_BIN_EXE_portcullis-testhost");
    for command in [
        format!("{program} inspect {MODULE}"),
        format!("{program} run {} --module {MODULE}", scenario.display()),
    ] {
        // The shell gives the program a pipe that nobody reads.
        let output =
            Command::new("bash").args(["-c", &format!("{command} | true")]).output().expect("bash runs");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_scenario() {
    let (code, text) = play("\u{feff}plugins: [{}]\nsteps: [{request: {}, expect: {status: 200}}]");
    assert_eq!(code, Some(0), "{text}");
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
        ("plugins: [{}]\nsteps: [{request: {}, expectRefused: x}]", "has no `reconfigure`"),
        ("plugins: [{}]\nsteps: [{request: {}, expectMetrics: {a: b}}]", "a metric is a whole number"),
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
