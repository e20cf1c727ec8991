//! Ticks, callouts and wakes: what passes between workers and the main thread. And metrics.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::envoy::{Envoy, Launch};
use crate::http::{connect, get};

const TICKING: &[(&str, &str)] = &[("first", "tick=20000")];

fn report(envoy: &Envoy, key: &str) -> u64 {
    let text = get(envoy.address, "/report", &[]).text();
    let value = text.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {key} in {text}")).parse().unwrap()
}

#[test]
fn the_main_thread_ticks_without_a_change_of_the_bootstrap() {
    let envoy = Envoy::start(&Launch::of(&[("first", "tick=50000")]));
    let (begin, before) = (Instant::now(), report(&envoy, "ticks"));
    std::thread::sleep(Duration::from_secs(2));
    let ticks = report(&envoy, "ticks") - before;
    let expected = begin.elapsed().as_millis() as u64 / 50;
    assert!((expected / 2..=expected + 2).contains(&ticks), "{ticks} of {expected}");
    assert_eq!(envoy.threads("portcullis-tick"), 1);
}

#[test]
fn without_a_period_there_is_no_thread() {
    let envoy = Envoy::start(&Launch::of(&[("first", "")]));
    assert_eq!(report(&envoy, "ticks"), 0);
    assert_eq!(envoy.threads("portcullis-tick"), 0);
}

#[test]
fn a_held_stream_goes_on_when_the_main_thread_wakes_it() {
    for workers in [1, 2] {
        let envoy = Envoy::start(&Launch { workers, ..Launch::of(TICKING) });
        for _ in 0..20 {
            let response = get(envoy.address, "/hold", &[]);
            assert!(response.status == 200 && response.text().contains("x-woken: "), "{}", response.text());
            assert_eq!(get(envoy.address, "/hold-reply", &[]).status, 403);
            assert_eq!(get(envoy.address, "/hold-response", &[]).values("x-upstream"), ["yes"]);
        }
    }
}

#[test]
fn to_wake_a_stream_that_is_gone_does_nothing() {
    let mut envoy = Envoy::start(&Launch { workers: 2, ..Launch::of(&[("first", "tick=200000")]) });
    for _ in 0..5 {
        let streams: Vec<_> = (0..50).map(|_| connect(envoy.address)).collect();
        for mut stream in &streams {
            stream.write_all(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
        drop(streams);
        std::thread::sleep(Duration::from_millis(100));
    }
    let ticks = report(&envoy, "ticks");
    envoy.until("tick on", |envoy| report(envoy, "ticks") > ticks + 2);
    envoy.assert_alive();
    assert_eq!(report(&envoy, "panics"), 0);
}

#[test]
fn a_callout_of_the_main_thread_is_answered() {
    let envoy = Envoy::start(&Launch::of(TICKING));
    let text = get(envoy.address, "/callout/upstream/teapot", &[]).text();
    assert!(text.starts_with("Some(418) Some(\"yes\") POST /teapot HTTP/1.1\r|"), "{text}");
    assert!(text.contains("content-length: 5") && text.ends_with("|asked"), "{text}");
}

#[test]
fn a_callout_says_how_it_failed() {
    let mut envoy = Envoy::start(&Launch::of(TICKING));
    let ask = |what: &str| get(envoy.address, &format!("/callout/{what}"), &[]).text();
    assert!(ask("upstream/slow").starts_with("Some(504)"), "a time-out is a 504");
    let reset = ask("upstream/reset");
    assert!(reset.starts_with("Some(503)"), "{reset}");
    assert_eq!(ask("upstream/cut"), "the callout was reset");
    let refused = ask("nowhere/");
    assert!(refused.starts_with("Some(503)"), "{refused}");
    assert_eq!(ask("unknown/"), "not sent: Envoy has no cluster of that name");
    let empty = ask("empty/");
    assert!(empty.starts_with("not sent: the callout could not be sent"), "{empty}");
    envoy.assert_alive();
}

#[test]
fn metrics_are_shown_to_prometheus() {
    let mut envoy = Envoy::start(&Launch::of(TICKING));
    for _ in 0..3 {
        assert_eq!(get(envoy.address, "/", &[]).status, 200);
    }
    assert_eq!(envoy.metric("probe_requests"), Some(3.0));
    assert_eq!(envoy.metric("probe_open"), Some(0.0));
    envoy.until("tick", |envoy| envoy.metric("probe_ticks").is_some_and(|ticks| ticks > 2.0));
    assert_eq!(envoy.metric("probe_level"), Some(42.0));
    envoy.until("merge histograms", |envoy| envoy.metric("probe_sizes_count").is_some_and(|n| n >= 3.0));
    envoy.until("merge histograms", |envoy| envoy.metric("probe_marks_count").is_some_and(|n| n > 2.0));
}

#[test]
fn workers_have_numbers() {
    let envoy = Envoy::start(&Launch { workers: 2, ..Launch::of(TICKING) });
    let seen: std::collections::BTreeSet<u64> = (0..200).map(|_| report(&envoy, "worker")).collect();
    assert!(seen.iter().all(|worker| *worker < 2), "{seen:?}");
    assert!(envoy.log().contains("probe: first of 2 workers: tick=20000"), "{}", envoy.log());
}
