//! Configurations and Envoys end while everything is under way; and an Envoy that is a wrong one.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::envoy::{Envoy, Launch};
use crate::http::{connect, get, try_send};

/// Ticks, and keeps a callout under way that is never answered.
const BUSY: &[(&str, &str)] = &[("first", "tick=2000 poll")];

/// Sends requests until told to stop; answers how many, and what went wrong.
fn load(
    envoy: &Envoy,
    stop: &Arc<AtomicBool>,
    path: &'static str,
) -> std::thread::JoinHandle<(u64, Vec<String>)> {
    let (address, stop) = (envoy.address, Arc::clone(stop));
    std::thread::spawn(move || {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (mut sent, mut wrong) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            match try_send(address, request.as_bytes()) {
                Ok(response) if response.status == 200 => {}
                other => wrong.push(format!("{other:?}")),
            }
            sent += 1;
        }
        (sent, wrong)
    })
}

/// Waits until only the newest configuration ticks; answers how many threads were parked for good.
fn await_threads(envoy: &mut Envoy) -> usize {
    let kept = |envoy: &Envoy| envoy.log().matches("is kept in memory").count();
    envoy.until("end the old threads", |envoy| envoy.threads("portcullis-tick") == 1 + kept(envoy));
    kept(envoy)
}

#[test]
fn listeners_are_replaced_under_load() {
    let mut envoy = Envoy::start(&Launch { workers: 2, ..Launch::of(BUSY) });
    let stop = Arc::new(AtomicBool::new(false));
    let loads =
        [load(&envoy, &stop, "/"), load(&envoy, &stop, "/hold"), load(&envoy, &stop, "/callout/upstream/")];
    for version in 1..=20 {
        envoy.replace(BUSY, version);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    envoy.until("end the old configurations", |envoy| envoy.log().matches("probe: first ends").count() >= 20);
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        let (sent, wrong) = load.join().unwrap();
        assert!(sent > 20 && wrong.is_empty(), "{sent} sent, {} wrong: {:?}", wrong.len(), wrong.first());
    }
    await_threads(&mut envoy);
    envoy.assert_alive();
    let (status, log) = envoy.terminate();
    assert!(status.success(), "{status}\n{log}");
}

#[test]
fn a_configuration_may_end_at_its_own_tick() {
    // A tick each microsecond makes it likely that the ticker is the last one to hold it.
    let busiest = [("first", "tick=1 poll")];
    let mut envoy = Envoy::start(&Launch::of(&busiest));
    for version in 1..=150 {
        envoy.replace(&busiest, version);
    }
    envoy
        .until("end the old configurations", |envoy| envoy.log().matches("probe: first ends").count() >= 150);
    let kept = await_threads(&mut envoy);
    println!("{kept} of 150 configurations ended at their own tick");
    assert_eq!(get(envoy.address, "/", &[]).status, 200);
    let (status, log) = envoy.terminate();
    assert!(status.success(), "{status}\n{log}");
}

#[test]
fn an_envoy_ends_in_order_whatever_is_under_way() {
    for workers in [1, 2] {
        let mut envoy = Envoy::start(&Launch { workers, ..Launch::of(&[("first", "tick=1000 poll")]) });
        let streams: Vec<_> = (0..20).map(|_| connect(envoy.address)).collect();
        for mut stream in &streams {
            stream.write_all(b"GET /hold-forever HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        }
        envoy.until("hold them", |envoy| envoy.metric("probe_open") == Some(20.0));
        let (status, log) = envoy.terminate();
        assert!(status.success(), "{status}\n{log}");
        assert!(log.contains("probe: first ends") && !log.contains("panic"), "{log}");
    }
}

#[test]
fn a_drain_lets_streams_end() {
    let mut envoy = Envoy::start(&Launch::of(BUSY));
    let held = connect(envoy.address);
    (&held).write_all(b"GET /hold-forever HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    envoy.until("hold it", |envoy| envoy.metric("probe_open") == Some(1.0));
    envoy.admin_post("/drain_listeners?graceful");
    let request = b"GET /hold HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    // As long as the listener accepts, it serves.
    while let Ok(response) = try_send(envoy.address, request) {
        assert_eq!(response.status, 200);
    }
    envoy.assert_alive();
    let (status, log) = envoy.terminate();
    assert!(status.success(), "{status}\n{log}");
}

#[test]
fn a_module_only_validates_where_envoy_only_validates() {
    let (status, log) = Envoy::fail(&Launch::of(BUSY), &["--mode", "validate"]);
    assert!(status.success() && log.contains("OK"), "{log}");
}
