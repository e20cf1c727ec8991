//! Mistakes of a test that would let it pass for nothing.

mod common;

use std::time::Duration;

use common::scripted;
use portcullis_testhost::{Fault, Host, Limits, Request};

const COUNTING: &str = "configure: metric 0 hits; configure: metric 2 latency; request_headers: get 0 :path";

fn counting() -> Host {
    scripted(COUNTING).start().unwrap()
}

#[test]
#[should_panic(expected = "Trap at call 100 of proxy_get_header_map_value, of which there were")]
fn a_fault_that_never_strikes_fails_the_test() {
    let mut host = counting();
    host.inject(Fault::trap().on("proxy_get_header_map_value").nth(100));
    host.request(Request::get("/"));
}

#[test]
#[should_panic(expected = "never struck")]
fn a_fault_that_is_taken_back_before_it_struck_fails_the_test() {
    let mut host = counting();
    host.inject(Fault::trap().on("proxy_get_header_map_value"));
    host.clear_faults();
}

#[test]
#[should_panic(expected = "no hostcall is named \"proxy_http_cal\"")]
fn a_hostcall_that_there_is_not_is_named() {
    let _ = Fault::trap().on("proxy_http_cal");
}

#[test]
fn every_import_of_a_module_is_a_hostcall_by_name() {
    for import in common::script_module().imports() {
        let (_, name) = import.rsplit_once('.').unwrap();
        let _ = Fault::trap().on(name);
    }
}

#[test]
#[should_panic(expected = "no module defined a counter \"hit\"; there is \nhits = 0 (counter)")]
fn a_metric_that_there_is_not_is_named() {
    counting().metrics().counter("hit");
}

#[test]
#[should_panic(expected = "no module defined a gauge \"hits\"")]
fn a_metric_of_another_kind_is_none() {
    counting().metrics().gauge("hits");
}

/// Ten years of a timer of 1 s are 315 million ticks.
#[test]
#[should_panic(expected = "more than 1000 events (Limits::events)")]
fn a_step_of_years_ends() {
    let limits = Limits { events: 1000, ..Limits::default() };
    let mut host = scripted("configure: tick_period 1000").limits(limits).start().unwrap();
    let years = Duration::from_secs(10 * 365 * 24 * 3600);
    host.advance(years);
    assert_eq!(host.elapsed(), years, "what was asked for holds, as far as the clock is concerned");
}
